"""The live index: what an engine built, plus what came since, minus what is gone.

`ModelSpace` answers searches of one model version's vectors; `Compactor` builds segments in
the background. Knows labels and vectors; ids, models and gRPC are other parts' business.
"""

from euclidesdb_server.index.compactor import Compactor
from euclidesdb_server.index.recall import RecallSampler
from euclidesdb_server.index.space import ModelSpace

__all__ = ["Compactor", "ModelSpace", "RecallSampler"]
