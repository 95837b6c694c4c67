# docker build -t deeprl . && docker run -v "$PWD/runs:/runs" deeprl train agent=dqn env=classic/cartpole
# On a GPU: docker run --gpus all ..., with device=cuda. g++ is for accelerate=compiled.
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ libegl1 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir ".[minatar,report,export]"
ENV MUJOCO_GL=egl
WORKDIR /
ENTRYPOINT ["deeprl"]
CMD ["--help"]
