# The modules are those of go.work, and tools/repo/layers.go says which of them a
# release tags: a new module needs no line here.
SHELL         := bash
.SHELLFLAGS   := -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help test test-embedded race bench bench-report bench-draw fuzz cover faults soak matrix lint gofmt vet staticcheck layers links tidy-check tidy alone outside downloads version tags mutate collector browser tools

# This tag adds the tests with real servers. `make race TAGS=` leaves them out.
TAGS     ?= realservers
# How many packages are tested at once: one more than processors, since most tests wait
# for times and servers most of the time.
AT_ONCE  ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# What takes longest begins first, so that nothing of it is left alone at the end.
SLOWEST  := ./integration/nats ./integration/asynq ./integration/work ./integration/river
# For one package. On a busy machine the tests with clusters need half of it.
TIMEOUT  ?= 30m
COUNT    ?= 1
BENCH    ?= .
FUZZTIME ?= 10s

# A loop over all modules, each without the workspace. tools is not in the workspace:
# the dependencies of linters and of the nats command must not decide what the product
# builds with.
EVERY_DIR = dirs="$$(bin/repo dirs) tools" || exit 1; for dir in $$dirs

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run every test, also those with real servers (installs the servers if it can)
	@if [ -e integration/install-servers.sh ]; then integration/install-servers.sh; fi
	go test -p=$(AT_ONCE) -timeout=$(TIMEOUT) -tags=$(TAGS) $(SLOWEST) work

test-embedded: ## run every test that needs nothing but Go
	go test -timeout=$(TIMEOUT) work

# SQLite, which is C translated to Go, is twenty times as slow under the race detector.
# It is left out: the detector still sees the locks, which are in other packages.
race: ## run every test with the race detector, shuffled, COUNT times (TAGS= without servers)
	go test -race -gcflags='modernc.org/sqlite/lib=-race=false' -timeout=2h -shuffle=on -count=$(COUNT) -tags=$(TAGS) work

bench: ## run the benchmarks that match BENCH
	go test -run='^$$' -bench='$(BENCH)' -benchmem -tags=$(TAGS) work

# Nothing else should run on the machine meanwhile. All groups together take LIMIT times
# their number, and two minutes more.
bench-report: ## measure the executors beside the libraries, each group for LIMIT (30s), then bench-draw
	go run ./benchmarks -results benchmarks/results -limit $(or $(LIMIT),30s)
	@$(MAKE) --no-print-directory bench-draw

bench-draw: ## write docs/benchmarks.md and its pictures from benchmarks/results
	go run ./benchmarks -results benchmarks/results -draw docs

fuzz: ## run every fuzz target for FUZZTIME
	@go test -list='^Fuzz' work | awk '/^Fuzz/ { name[n++] = $$1 } $$1 == "ok" { while (n) print name[--n], $$2 }' | \
	while read -r name package; do \
		echo "$$name $$package"; \
		go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

cover: ## write coverage.out, where each test counts for every package, and print the total
	go test -timeout=$(TIMEOUT) -tags=$(TAGS) -coverpkg=work -coverprofile=coverage.out work
	@go tool cover -func=coverage.out | tail -n 1

faults: ## run the suite's fault checks on every executor, with EFFORT (5) times the effort of a test
	CONFORMANCE_LEVELS=faults CONFORMANCE_EFFORT=$(or $(EFFORT),5) go test -count=1 -timeout=2h -tags=$(TAGS) -run='^TestConformance' work

soak: ## run the suite and the chaos test on every executor for hours, with EFFORT (100) times the effort of a test
	CONFORMANCE_EFFORT=$(or $(EFFORT),100) go test -count=1 -timeout=48h -tags=$(TAGS) -run='^TestConformance|^TestChaos|^TestKillMatrix' work

matrix: ## run the conformance suite on every executor, then write the reports and the matrix
	@dir=$$(mktemp -d) && CONFORMANCE_REPORT=$$dir go test -count=1 -timeout=$(TIMEOUT) -tags=$(TAGS) -run='^TestConformance' work && \
	mkdir -p conformance/reports && for f in $$dir/*.json; do \
		case "$$(basename $$f)" in conformance.json|folder.json) continue ;; esac; cp $$f conformance/reports/ || exit 1; \
	done && rm -r $$dir && go run ./integration/matrix

lint: gofmt vet staticcheck layers links ## run gofmt, vet, staticcheck and the checks of the layout and of links (each is a target)

gofmt:
	@bad=$$(gofmt -l .) || exit 1; [ -z "$$bad" ] || { echo "gofmt would change (gofmt -w .):"; echo "$$bad"; exit 1; }

vet:
	go vet -tags=realservers work

staticcheck: tools
	bin/staticcheck -tags=realservers work
	@cd tools && GOWORK=off ../bin/staticcheck ./...

layers: tools
	bin/repo layers

links: tools
	bin/repo links

tidy-check: tools ## check that go.mod and go.sum of every module are tidy
	@$(EVERY_DIR); do \
		GOWORK=off go mod tidy -C $$dir -diff || { echo "$$dir is not tidy: run make tidy"; bad=1; }; \
	done; [ -z "$$bad" ]

tidy: tools ## tidy go.mod and go.sum of every module
	@$(EVERY_DIR); do GOWORK=off go mod tidy -C $$dir || bad=1; done; [ -z "$$bad" ]

# Users have no workspace, so a released module is tested with the versions in its own
# go.mod. For the other modules a build is enough.
alone: tools ## build every module without the workspace, and test the released ones
	@untagged=" $$(bin/repo dirs untagged | tr '\n' ' ')" || exit 1; $(EVERY_DIR); do \
		case "$$untagged" in *" $$dir "*) check="vet -tags=realservers" ;; *) check="test -short" ;; esac; \
		echo "$$dir: go $$check"; \
		out=$$(GOWORK=off go $${check%% *} -C $$dir $${check#* } ./... 2>&1) || { echo "$$out"; echo "$$dir fails without the workspace"; bad=1; }; \
	done; [ -z "$$bad" ]

outside: tools ## use every released module as a new user would: go get from a test release
	bin/repo outside

downloads: tools ## print what go get of each released module downloads and compiles (five minutes)
	@bin/repo downloads

version: tools ## set the version that the modules require of each other to VERSION, before a release
	@bin/repo version $(VERSION)

tags: tools ## print the tags of a release
	@bin/repo tags

mutate: tools ## change the source of small executors and write what their tests do not notice (an hour)
	@out=conformance/reports/mutation.md; explained="-explained conformance/reports/mutation-explained.txt"; \
	printf '# What the tests do not notice\n\nWritten by make mutate. See tools/mutate.\n\n' >$$out; failed=0; \
	bin/mutate $$explained executors/sync >>$$out || failed=1; echo >>$$out; \
	bin/mutate $$explained executors/pool >>$$out || failed=1; echo >>$$out; \
	bin/mutate $$explained -files 'example_[qw]*_test.go' -run 'ConformanceOfAQueue' conformance >>$$out || failed=1; \
	exit $$failed

# What modules outside the workspace need is too much for every run: 700 packages of the
# collector, a browser. So no other target looks at them.
TEST_OUTSIDE = GOWORK=off go mod tidy -diff && GOWORK=off go vet ./... && GOWORK=off go test -count=1 -timeout=$(TIMEOUT) ./...

collector: ## test otelairlock with a real OpenTelemetry Collector (minutes)
	cd tools/otlp && $(TEST_OUTSIDE)

browser: ## test the page of airlock serve in Chromium (AIRLOCK_CHROMIUM, or chromium on PATH)
	cd tools/browser && $(TEST_OUTSIDE)

tools:
	@GOWORK=off go build -C tools -o ../bin/ ./repo ./mutate honnef.co/go/tools/cmd/staticcheck
