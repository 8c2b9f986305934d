# Every target is a command of ./dev: where make is missing, `./dev demo` is the same as `make demo`.
SCENARIO ?= default

.PHONY: help env demo demo-down bench test test-full molecule lint unit sanity lock docs docs-site clean
help:            ; @./dev --help
env:             ; @./dev env
demo:            ; @./dev demo
demo-down:       ; @./dev demo-down
bench:           ; @./dev bench
test:            ; @./dev test
test-full:       ; @PYGUN_FULL=1 ./dev test
molecule:        ; @./dev molecule $(SCENARIO)
lint unit sanity lock docs docs-site clean: ; @./dev $@
