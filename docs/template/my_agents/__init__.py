"""An agent and an environment for deeprl."""

import gymnasium

gymnasium.register("Corridor-v0", "my_agents.corridor:Corridor", max_episode_steps=100)
