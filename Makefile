# make demo    set everything up and run the main job       make test    set everything up and run the tests
# Where a ROS 2 distribution is sourced, its rclpy and messages are used, else the Jazzy wheels from PyPI.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
CPUS := $(shell nproc 2>/dev/null || echo 2)
ARGS ?=

ROS := $(if $(ROS_DISTRO),$(shell python3 -c 'import rclpy' 2>/dev/null && echo sourced))
ifeq ($(ROS),sourced)
PYTHON ?= python3
VENV_OPTIONS := --system-site-packages
ROS_REQUIREMENTS := -c $(VENV)/ros-constraints.txt
else
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ROS_REQUIREMENTS := -r requirements-ros-wheels.txt
endif

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */make \1\t/' | expand -t 16

.PHONY: setup
setup: $(STAMPS)/install $(STAMPS)/vision_msgs $(STAMPS)/foxglove_msgs  ## environment in .venv; does nothing where it is up to date

.PHONY: demo
demo: setup  ## camera, node and recorder for a minute; result in demo_out/ (ARGS="--source pictures/")
	$(BIN)/python -m spda_sam_ros.demo $(ARGS)

.PHONY: test
test: setup  ## all tests (ARGS="test/core -k depth" for some)
	$(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: setup  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: colcon
colcon: setup  ## build the package as a robot does, into install/
	$(if $(ROS),colcon,source $(BIN)/activate && colcon) build --merge-install $(ARGS)

.PHONY: clean
clean:  ## remove .venv and what was built; keep data, runs and checkpoints
	rm -rf $(VENV) build install log *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; ros = "$(ROS)"; \
	  sys.exit(0 if v == (3, 11) or ros and v >= (3, 10) else \
	    "Python %d.%d does not do: " % v + ("3.10 or newer is needed" if ros else \
	    "the ROS 2 wheels are for Python 3.11. Give one as PYTHON=/path/to/python3.11, or source a ROS 2"))'
	$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
	touch $(VENV)/COLCON_IGNORE

# package.xml and setup.py carry version, entry points and dependencies; the code itself is linked, not copied
$(STAMPS)/install: setup.py setup.cfg package.xml pyproject.toml requirements-ros-wheels.txt | $(BIN)/python
	@echo "installing dependencies into $(VENV), a few minutes and 5 GB (PyTorch) the first time"
ifeq ($(ROS),sourced)
	# rclpy's messages were compiled against this NumPy
	python3 -c 'import numpy; print("numpy==" + numpy.__version__)' > $(VENV)/ros-constraints.txt
endif
	$(BIN)/python -m pip install --disable-pip-version-check $(ROS_REQUIREMENTS) -e '.[train,test]'
	@mkdir -p $(STAMPS) && touch $@

INTERFACES := test/interfaces

$(STAMPS)/vision_msgs: $(INTERFACES)/build $(wildcard $(INTERFACES)/vision_msgs/*.* $(INTERFACES)/vision_msgs/msg/*) $(STAMPS)/install
ifeq ($(ROS),sourced)
	@$(BIN)/python -c 'import vision_msgs' || \
	  { echo "vision_msgs is missing: sudo apt install ros-$(ROS_DISTRO)-vision-msgs"; exit 1; }
else
	$(INTERFACES)/build $(INTERFACES)/vision_msgs $(abspath $(VENV)) $(CPUS)
endif
	@touch $@

# optional: with ROS 2 sourced, the distribution's package is used where it is installed
$(STAMPS)/foxglove_msgs: $(INTERFACES)/build $(wildcard $(INTERFACES)/foxglove_msgs/*.* $(INTERFACES)/foxglove_msgs/msg/*) $(STAMPS)/install
ifneq ($(ROS),sourced)
	$(INTERFACES)/build $(INTERFACES)/foxglove_msgs $(abspath $(VENV)) $(CPUS)
endif
	@touch $@
