"""What is learned: datasets from offsets, recipes, training, export, the gate, the service."""

import os

# A trainer shares its machine with the services that it trains for. Idle threads of torch's that
# spin for work made a training among busy neighbours several times longer; these sleep. It must
# be said before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
