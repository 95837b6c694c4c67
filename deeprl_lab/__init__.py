"""The lab: tabular and linear agents with exact answers, in worlds whose optima are known. The first extension of deeprl.

    mathematics/        functions on arrays: finite MDPs, planners, risk measures, uncertainty sets, least squares, bonuses
    envs/               worlds, one `EnvChoice` each
    planning_agent.py   the agent that observes, acts and plans again
    agents/             one paper a file
    configs/            its options, in the layout of deeprl's: `agent=lab/dtr env=lab/dtr`

It is announced as every extension is, by an entry point of the group `deeprl.configs`, and imports of deeprl nothing but `deeprl.extend`.
"""
