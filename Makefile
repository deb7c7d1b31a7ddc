# make demo   everything on a small drawn sample, on the CPU
# make test   what has to pass before a change lands
# make real   the same road on real material in ../shared
# make bench  ingest on the benchmark in ../shared, held against the baseline (needs Python with pillow, numpy, pyarrow)
# make readers  Python readers in a virtual environment open a dataset folder (needs network once)
# make ablation   the rows of Table VII on what make real left, five seeds each; goes on where it was stopped
.PHONY: help setup build demo test real readers ablation bench clean

SHARED ?= ../shared
# The GPU build is type-checked together with the lints: one pass over the dependencies.
GPU := --features trainer/wgpu,eval/wgpu

help:
	@sed -n 's/^# //p' Makefile

setup:
	@scripts/setup.sh

build: setup
	cargo build --release --workspace

demo: build
	target/release/road demo --out demo-out

real: build
	target/release/road real --shared $(SHARED) --out real-out --results docs/results.md

bench: build
	target/release/road bench --shared $(SHARED) --out real-out --results docs/results.md --speed

ablation: build
	target/release/road ablation --real real-out

test: setup
	cargo fmt --all --check
	cargo test --release --workspace --locked
	target/release/road demo --short --out target/road-short
	cargo clippy --release --workspace --all-targets --locked $(GPU) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked $(GPU)

readers:
	MM_READERS=1 cargo test --release -p data-cards --locked --test cli readers -- --nocapture
	MM_READERS=1 cargo test --release -p dataset --locked --test cli pandas -- --nocapture

clean:
	rm -rf demo-out real-out target/road-short
