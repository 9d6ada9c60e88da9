# The modules come from go.work, what a release tags from tools/repo/rooms.go:
# a new module needs no line here.
SHELL         := bash
.SHELLFLAGS   := -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help test test-embedded race bench fuzz cover faults soak matrix lint gofmt vet staticcheck rooms tidy-check tidy alone outside version tags tools

# The tag that adds the tests on real servers; `make race TAGS=` leaves them out.
TAGS     ?= realservers
# For one package: on a machine whose CPUs are all taken, those on clusters need half of it.
TIMEOUT  ?= 30m
COUNT    ?= 1
BENCH    ?= .
FUZZTIME ?= 10s

# For loops over the modules one at a time, without the workspace. The last two
# are not in it: what linters and the nats command depend on must not decide what
# the product builds with.
EVERY_DIR = dirs="$$(bin/repo dirs) tools tools/natscli" || exit 1; for dir in $$dirs

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run every test, those on real servers too (installs the servers where it can)
	@if [ -e integration/install-servers.sh ]; then integration/install-servers.sh; fi
	go test -timeout=$(TIMEOUT) -tags=$(TAGS) work

test-embedded: ## run every test that needs nothing but Go
	go test -timeout=$(TIMEOUT) work

# SQLite is C turned into Go, which takes twenty times as long under the detector
# for nothing: its locks, in other packages, are seen all the same.
race: ## run every test under the race detector, shuffled, COUNT times; TAGS= for Go alone
	go test -race -gcflags='modernc.org/sqlite/lib=-race=false' -timeout=2h -shuffle=on -count=$(COUNT) -tags=$(TAGS) work

bench: ## run the benchmarks that match BENCH
	go test -run='^$$' -bench='$(BENCH)' -benchmem -tags=$(TAGS) work

fuzz: ## run every fuzz target for FUZZTIME
	@go test -list='^Fuzz' work | awk '/^Fuzz/ { name[n++] = $$1 } $$1 == "ok" { while (n) print name[--n], $$2 }' | \
	while read -r name package; do \
		echo "$$name $$package"; \
		go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

cover: ## write coverage.out, each test counting for every package, and print the total
	go test -timeout=$(TIMEOUT) -tags=$(TAGS) -coverpkg=work -coverprofile=coverage.out work
	@go tool cover -func=coverage.out | tail -n 1

faults: ## run the fault checks of the suite on every executor, EFFORT (5) times as thoroughly as in a test
	CONFORMANCE_LEVELS=faults CONFORMANCE_EFFORT=$(or $(EFFORT),5) go test -count=1 -timeout=2h -tags=$(TAGS) -run='^TestConformance' work

soak: ## run the whole suite on every executor for hours (EFFORT, 100)
	CONFORMANCE_EFFORT=$(or $(EFFORT),100) go test -count=1 -timeout=48h -tags=$(TAGS) -run='^TestConformance' work

matrix: ## run the conformance suite on every executor, keep the reports, draw the matrix
	@dir=$$(mktemp -d) && CONFORMANCE_REPORT=$$dir go test -count=1 -timeout=$(TIMEOUT) -tags=$(TAGS) -run='^TestConformance' work && \
	mkdir -p conformance/reports && for f in $$dir/*.json; do \
		[ "$$(basename $$f)" = conformance.json ] || cp $$f conformance/reports/ || exit 1; \
	done && rm -r $$dir && go run ./integration/matrix

lint: gofmt vet staticcheck rooms ## check format, vet, staticcheck and who imports whom (each a target too)

gofmt:
	@bad=$$(gofmt -l .) || exit 1; [ -z "$$bad" ] || { echo "gofmt would change (gofmt -w .):"; echo "$$bad"; exit 1; }

vet:
	go vet -tags=realservers work

staticcheck: tools
	bin/staticcheck -tags=realservers work
	@cd tools && GOWORK=off ../bin/staticcheck ./...

rooms: tools
	bin/repo rooms

tidy-check: tools ## check that go.mod and go.sum of every module are tidy
	@$(EVERY_DIR); do \
		GOWORK=off go mod tidy -C $$dir -diff || { echo "$$dir is not tidy: run make tidy"; bad=1; }; \
	done; [ -z "$$bad" ]

tidy: tools ## make them so
	@$(EVERY_DIR); do GOWORK=off go mod tidy -C $$dir || bad=1; done; [ -z "$$bad" ]

# A released module is tested with exactly what its own go.mod says, for its
# users have no workspace. For the others it is enough that they build.
alone: tools ## build every module without the workspace, test those that are released
	@untagged=" $$(bin/repo dirs untagged | tr '\n' ' ')" || exit 1; $(EVERY_DIR); do \
		case "$$untagged" in *" $$dir "*) check="vet -tags=realservers" ;; *) check="test -short" ;; esac; \
		echo "$$dir: go $$check"; \
		out=$$(GOWORK=off go $${check%% *} -C $$dir $${check#* } ./... 2>&1) || { echo "$$out"; echo "$$dir fails without the workspace"; bad=1; }; \
	done; [ -z "$$bad" ]

outside: tools ## use every released module as a stranger would: go get from a pretended release
	bin/repo outside

version: tools ## make the modules require one another at VERSION, before a release
	@bin/repo version $(VERSION)

tags: tools ## print the tags of a release
	@bin/repo tags

tools:
	@GOWORK=off go build -C tools -o ../bin/ tool
