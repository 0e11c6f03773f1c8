import sys
from bench.duties import DUTIES
from bench.peers import PEERS
only=sys.argv[1].split(",")
peers=[p for p in PEERS if len(sys.argv)<3 or p.name in sys.argv[2].split("/")]
for d in DUTIES:
    if d.name in only:
        for v in d.once(peers): print(d.name, v.who, v.what, v.value, flush=True)
