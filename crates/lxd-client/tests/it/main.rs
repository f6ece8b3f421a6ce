//! Tests against a real LXD (`cargo xtask lab lxd up`) and against scripted servers.

#[path = "../../../bench/src/delay.rs"]
mod delay;
mod guest;
mod real_cluster;
mod real_exec;
mod real_files;
mod real_https;
mod real_images;
mod real_late;
mod real_life;
mod real_operations;
mod real_trust;
mod real_volumes;
mod script;
mod scripted;
mod scripted_operations;
mod scripted_volumes;
