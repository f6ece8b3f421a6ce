//! Links the program at a fixed address.
//!
//! A position-independent program of this size has 31,000 relocations, which are applied at every
//! start: half a megabyte of pages is copied before `main`, a tenth of the time of a whole
//! `boxherd exec`. What is given up is a random address of the program's own code and tables;
//! libraries, heap and stack keep theirs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-no-pie");
}
