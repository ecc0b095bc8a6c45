"""Writes diffusion.npz: schedules, steps and whole runs of diffusers' schedulers.

    python tests/golden/make_diffusion.py        (diffusers 0.35, torch 2.13, CPU)

DDIM is run step by step, since its "linspace" spacing takes a wrong "previous" step. The
network of the whole runs is `network` below.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
)

STEPS = 20


def network(x: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
    """Any smooth function."""
    return (1 - alpha_bar).sqrt() * x + 0.3 * torch.sin(2 * x)


def ddim_steps(arrays: dict[str, np.ndarray]) -> None:
    rng = torch.Generator().manual_seed(0)
    x, output, fresh = (torch.randn(2, 3, 4, generator=rng) for _ in range(3))
    arrays |= {"x_t": x.numpy(), "output": output.numpy(), "fresh": fresh.numpy()}
    for kind in ("epsilon", "sample", "v_prediction"):
        for clip in (False, True):
            for recompute_noise in (False, True):
                for eta in (0.0, 0.3, 1.0):
                    scheduler = DDIMScheduler(
                        clip_sample=clip, prediction_type=kind, timestep_spacing="trailing"
                    )
                    scheduler.set_timesteps(STEPS)
                    for t in (999, 499, 49):
                        y = scheduler.step(
                            output,
                            t,
                            x,
                            eta=eta,
                            use_clipped_model_output=recompute_noise,
                            variance_noise=fresh,
                        )
                        name = f"{kind}/{int(clip)}/{int(recompute_noise)}/{eta}/{t}"
                        arrays[name] = y.prev_sample.numpy()


def whole_runs(arrays: dict[str, np.ndarray]) -> None:
    start = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    arrays["start"] = start.numpy()
    common = {"beta_schedule": "linear", "timestep_spacing": "trailing"}
    common |= {"beta_start": 1e-4, "beta_end": 0.02}
    heun = HeunDiscreteScheduler(**common)
    multistep = DPMSolverMultistepScheduler(
        **common, algorithm_type="dpmsolver++", solver_order=2, euler_at_final=True
    )
    for name, scheduler in {"heun": heun, "dpm": multistep}.items():
        scheduler.set_timesteps(STEPS)
        # Heun's images are x_t / √ᾱ, of spread σ; its own scale has one more of the noise.
        x = start * (scheduler.sigmas[0] ** 2 + 1).sqrt() if name == "heun" else start
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, t)
            x = scheduler.step(network(seen, scheduler.alphas_cumprod[int(t)]), t, x).prev_sample
        arrays[name] = x.numpy()


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, options in {
        "linear": {"beta_schedule": "linear"},
        "cosine": {"beta_schedule": "squaredcos_cap_v2"},
        "zero": {"beta_schedule": "linear", "rescale_betas_zero_snr": True},
    }.items():
        arrays[name] = DDIMScheduler(**options).alphas_cumprod.numpy()
    ddim_steps(arrays)
    whole_runs(arrays)
    scheduler = DDPMScheduler(clip_sample=False, variance_type="fixed_small")
    arrays["ddpm_variance"] = np.float32([scheduler._get_variance(t) for t in (999, 500, 1)])
    np.savez_compressed(Path(__file__).with_name("diffusion.npz"), **arrays)


if __name__ == "__main__":
    main()
