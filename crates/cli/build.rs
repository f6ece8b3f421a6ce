//! Links the program statically, at a fixed address.
//!
//! A position-independent program of this size has 31,000 relocations, which are applied at every
//! start: half a megabyte of pages is copied before `main`. The dynamic linker with its three
//! libraries takes half a millisecond, as much again. Together they are a fifth of the time of a
//! whole `boxherd exec`. What is given up is a random address of the program's code, tables and C
//! library; heap and stack keep theirs.
//!
//! `-C target-feature=+crt-static` is the way that is meant for it, but cargo gives it to procedural
//! macros too, which cannot be linked so, unless there is a `--target`, which moves the program to
//! another folder. So the linker is told what the shared libraries that `std` names stand for. The
//! static ones are in the same package as what every program needs for linking (`libc6-dev`), and
//! the agent needs them as well.

use std::path::Path;
use std::{env, fs, io};

/// What stands in the place of a shared library.
const LIBRARIES: [(&str, &str); 3] = [
    ("libc.so", "GROUP ( -l:libc.a )\n"),
    ("libgcc_s.so", "GROUP ( -l:libgcc.a -l:libgcc_eh.a )\n"),
    ("libm.so", "GROUP ( -l:libm.a )\n"),
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-no-pie");
    let cfg = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let already = cfg("FEATURE").split(',').any(|feature| feature == "crt-static");
    if cfg("ENV") == "gnu" && !already {
        let out = env::var("OUT_DIR").map_err(io::Error::other)?;
        for (name, script) in LIBRARIES {
            fs::write(Path::new(&out).join(name), script)?;
        }
        println!("cargo::rustc-link-arg-bins=-L{out}");
        println!("cargo::rustc-link-arg-bins=-static");
    }
    Ok(())
}
