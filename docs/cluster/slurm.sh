#!/bin/bash
# Grok-1 on two machines of four GPUs each: one process a machine, eight devices in all.
#
#     sbatch docs/cluster/slurm.sh "Once upon a time"
#
# Change: the number of nodes and GPUs (and MESH with them), and MODELS to a folder on each
# machine's own disk with 320 GB of room, or to one that all machines share.
#SBATCH --job-name=grok-1
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=02:00:00
#SBATCH --output=grok-1-%j.out
set -euo pipefail

PROMPT=${1:-Once upon a time}
MESH=1x8
MODELS=${MODELS:-/local/$USER/grokdist}

export GROKDIST_HOME=$MODELS

# One machine that fails ends the step, and with it the others.
STEP=(srun --kill-on-bad-exit=1)

# Every byte comes from outside about once; machines hand it on to one another.
"${STEP[@]}" grokdist fetch grok-1 --for-mesh "$MESH" --share --yes

# Who the processes are and where they meet is read from what srun sets.
"${STEP[@]}" grokdist run --model grok-1 --mesh "$MESH" --max-tokens 256 --stats "$PROMPT"
