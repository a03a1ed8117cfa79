"""Being here, this puts what the tests of the gateware share on the import path."""

import sys
from pathlib import Path

# Random networks to run come from the compiler's tests.
sys.path.append(str(Path(__file__).parents[1] / "host" / "compiler"))
# The smallest board with a link comes from the host's.
sys.path.append(str(Path(__file__).parents[1] / "host"))
