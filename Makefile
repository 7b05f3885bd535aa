SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint format generate lock bench faults soak audit fuzz clean

BIN := .venv/bin
SHELL_SCRIPTS := .ci/run $(wildcard scripts/*.sh deploy/compose/*.sh .github/actions/*/*.sh)

help: ## Show the targets.
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## Run a simulated home: broker, sensors, flow, database and the live page.
	@scripts/bootstrap.sh main
	@exec $(BIN)/flowrunner demo

test: ## Run all tests against real servers, with the coverage gate.
	@scripts/bootstrap.sh dev
	@scripts/install_servers.sh
	# Tests with real servers run in real time: what fails beside others is looked at once more, alone.
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term --cov-fail-under=95 $(ARGS) \
		|| $(BIN)/pytest --last-failed --last-failed-no-failures none

lint: ## Check style, types, layers, generated files, scripts and distributions.
	@scripts/bootstrap.sh dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/flowrunner schema --write schemas --docs docs/nodes --check
	$(BIN)/flowrunner dashboard --out dashboards --check
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/actionlint
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/check-jsonschema --check-metaschema charts/flowrunner/values.schema.json
	$(BIN)/hadolint Dockerfile
	$(BIN)/python scripts/check_dist.py
	$(BIN)/python scripts/check_licences.py

format: ## Format the code and repair what ruff can.
	@scripts/bootstrap.sh dev
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

generate: ## Write the JSON Schemas, the reference pages and the dashboard again.
	@scripts/bootstrap.sh dev
	$(BIN)/flowrunner schema --write schemas --docs docs/nodes
	$(BIN)/flowrunner dashboard --out dashboards

lock: ## Resolve the dependencies again: poetry.lock and requirements/.
	scripts/lock.sh

bench: ## Print the benchmarks' ratios.
	@scripts/bootstrap.sh dev
	for file in benchmarks/[a-z]*.py; do $(BIN)/python -m "benchmarks.$$(basename "$$file" .py)"; done

faults: ## Run every fault scenario once and print the table (ARGS="-k WORD").
	@scripts/bootstrap.sh dev
	@scripts/install_servers.sh
	$(BIN)/python -m reliability.faults $(ARGS)

soak: ## Disturb a whole installation at random for MINUTES (60), in the order of SEED, and judge.
	@scripts/bootstrap.sh dev
	@scripts/install_servers.sh
	$(BIN)/python -m reliability.soak --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

audit: ## Look up known vulnerabilities of what is pinned (in CI, or with AUDIT=1), and check licences.
	@scripts/bootstrap.sh dev
	$(BIN)/python scripts/check_licences.py
	scripts/audit.sh

fuzz: ## Fuzz what comes from outside, each target for SECONDS (60); what is found is in .cache/fuzz.
	@scripts/bootstrap.sh dev
	for target in $(or $(TARGET),yaml expression mqtt payload line http); do \
		$(BIN)/python -m fuzz "$$target" $(or $(SECONDS),60); \
	done
	$(BIN)/python -m fuzz.api $(or $(SECONDS),60)

clean: ## Remove what was built or cached, and .venv.
	rm -rf .venv .cache .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
