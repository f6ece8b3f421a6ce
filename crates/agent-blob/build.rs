//! Builds the agent with a cargo of its own.
//!
//! The agent needs another profile, another linkage and a smaller set of features than the program
//! that carries it, none of which one cargo invocation can have. It gets a target folder of its
//! own, shared by all profiles, so that it is built once and not once for each of them; a folder
//! inside the outer one would wait for the outer one's lock for ever.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// What the agent is built for, the best first. Both are linked statically; a C library of GNU's asks the
/// processor about itself when a program starts, which takes a third of a millisecond in a virtual machine,
/// and is there where the other is not installed.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"];
/// The crates that are in the agent, below `crates/`.
const CRATES: [&str; 4] = ["agent", "link", "model", "sys"];

fn main() -> Result<(), Box<dyn Error>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no parent folder")?;
    let root = crates.parent().ok_or("no workspace")?;
    watch();
    let folder = target_folder(&PathBuf::from(env::var("OUT_DIR")?))?;
    let built = build(root, &folder, target()?)?;
    // A copy of this build's own: the shared one may be built again while this is compiled.
    let copy = PathBuf::from(env::var("OUT_DIR")?).join("boxherd-agent");
    let agent = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    fs::write(&copy, &agent)?;
    let digest: String = Sha256::digest(&agent).iter().map(|byte| format!("{byte:02x}")).collect();
    let packed = copy.with_extension("gz");
    fs::write(&packed, pack(&agent)?)?;
    println!("cargo::rustc-env=BOXHERD_AGENT={}", copy.display());
    println!("cargo::rustc-env=BOXHERD_AGENT_PACKED={}", packed.display());
    println!("cargo::rustc-env=BOXHERD_AGENT_SHA256={digest}");
    Ok(())
}

/// The content of the last entry of a tar archive and the archive's end, as gzip.
fn pack(agent: &[u8]) -> std::io::Result<Vec<u8>> {
    const BLOCK: usize = 512;
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(agent)?;
    packer.write_all(&vec![0; agent.len().next_multiple_of(BLOCK) - agent.len() + 2 * BLOCK])?;
    packer.finish()
}

/// Only what the agent is made of makes it be built again. Seen from this package: a target folder
/// that several clones share would keep the paths of the clone that came first.
fn watch() {
    for name in CRATES {
        for part in ["src", "Cargo.toml"] {
            println!("cargo::rerun-if-changed=../{name}/{part}");
        }
    }
    for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        println!("cargo::rerun-if-changed=../../{file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// `TARGET/agent` for an `OUT_DIR` of `TARGET/[TRIPLE/]PROFILE/build/boxherd-agent-blob-HASH/out`.
fn target_folder(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let build = out.ancestors().find(|path| path.ends_with("build")).ok_or("no build folder")?;
    let profile = build.parent().ok_or("no profile folder")?;
    let mut target = profile.parent().ok_or("no target folder")?;
    if env::var("TARGET").is_ok_and(|triple| target.ends_with(triple)) {
        target = target.parent().ok_or("no target folder")?;
    }
    Ok(target.join("agent"))
}

/// The first target for which there is a standard library. Another may be installed later, which is seen
/// by the folder in which they all are.
fn target() -> Result<&'static str, Box<dyn Error>> {
    let rustc = env::var_os("RUSTC").ok_or("not run by cargo")?;
    let output = Command::new(rustc).args(["--print", "target-libdir"]).output()?;
    let own = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let all = own.ancestors().nth(2).ok_or("no folder of targets")?;
    println!("cargo::rerun-if-changed={}", all.display());
    let there = |target: &&&str| all.join(target).join("lib").is_dir();
    Ok(TARGETS.iter().find(there).ok_or_else(|| format!("{} has none of ours", all.display()))?)
}

fn build(root: &Path, folder: &Path, target: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("not run by cargo")?);
    cargo.current_dir(root);
    cargo.args(["build", "--quiet", "--locked", "--package", "boxherd-agent"]);
    cargo.args(["--bin", "boxherd-agent", "--profile", "agent", "--target", target]);
    cargo.arg("--target-dir").arg(folder);
    // What the outer cargo was told (flags, wrappers such as clippy's, its jobserver's profile) is
    // about the outer build.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    let output = cargo.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("building the agent failed ({}):\n{said}", output.status).into());
    }
    Ok(folder.join(target).join("agent").join("boxherd-agent"))
}

fn is_of_the_outer_build(name: &str) -> bool {
    const PREFIXES: [&str; 6] =
        ["CARGO_ENCODED_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "CARGO_BUILD_", "DEP_"];
    const NAMES: [&str; 14] = [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC",
        "RUSTDOC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_LINKER",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_TARGET_DIR",
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
        "TARGET",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || NAMES.contains(&name)
        || name.starts_with("CARGO_PROFILE_")
}
