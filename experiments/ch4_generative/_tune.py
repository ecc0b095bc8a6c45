import jax, time, sys, numpy as np
from dataclasses import replace
from functools import partial
import diffusion as D
from _common import read
from _judge import judge
from lectures_jax import ops

args = dict(a.split("=") for a in sys.argv[1:])
seeds = [int(s) for s in args.pop("seeds", "0").split(",")]
kw = {k: (eval(v)) for k, v in args.items()}
J = judge("digits", None)
splits = read("digits", None)
for s in seeds:
    c = D.filled(replace(D.Config(seed=s), **kw))
    g = D.learn(c, splits, None)
    out = []
    for name, f in D.SAMPLERS.items():
        x = D.generate(c, g.model, splits, f, 20, jax.random.key(1), J.count)
        sc = J.scores(x)
        out.append(
            (name, round(sc["frechet"], 2), round(sc["neighbour_ratio"], 2), round(sc["recall"], 2))
        )
    print(kw, s, g.parameters, round(g.seconds, 1), g.history[-1]["loss"], out, flush=True)
