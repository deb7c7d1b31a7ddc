//! How the program is linked (docs/decisions/0107-the-program-has-a-fixed-address.md).

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
