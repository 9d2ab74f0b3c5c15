"""Items that killed workers are remembered, the most recent ones, for a while."""

from euclidesdb_server.errors import FailureReason, ModelFailed
from euclidesdb_server.inference.poisonous_items import SECONDS, PoisonousItems
from euclidesdb_server.values.payload import Payload


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def text(number: int) -> Payload:
    return Payload("text", str(number).encode())


def test_an_item_is_remembered_by_what_it_holds_and_forgotten_in_time():
    clock = Clock()
    poisonous = PoisonousItems(clock=clock)
    poisonous.add(text(1), ModelFailed("it died", FailureReason.CRASHED))
    error = poisonous.error(text(1))
    assert isinstance(error, ModelFailed)
    assert (str(error), error.failure_reason) == ("it died", FailureReason.CRASHED)
    assert poisonous.error(Payload("image", b"1")) is None
    clock.now = SECONDS - 1
    assert str(poisonous.error(text(1))) == "it died"
    clock.now = SECONDS + 1
    assert poisonous.error(text(1)) is None


def test_of_more_items_than_fit_the_oldest_is_forgotten():
    poisonous = PoisonousItems(max_items=3)
    for number in range(4):
        poisonous.add(text(number), ModelFailed(str(number)))
    errors = [str(poisonous.error(text(number))) for number in range(4)]
    assert errors == ["None", "1", "2", "3"]
