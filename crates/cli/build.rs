//! Links the program at a fixed address.
//!
//! A position-independent program of this size has 31,000 relocations, which are applied at every
//! start: half a megabyte of pages is copied before `main`, a tenth of the time of a whole
//! `boxherd exec`. What is given up is a random address of the program's own code and tables;
//! libraries, heap and stack keep theirs.
//!
//! With glibc alone: what starts a static program of musl's relocates itself, and ends at the first
//! step where there is nothing to relocate.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
