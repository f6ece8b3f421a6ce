//! From a policy to BPF. Pure.

use super::policy::{Decision, Policy};

/// One instruction, laid out as the kernel's `sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) value: u32,
}

pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// `struct seccomp_data`: number, architecture, instruction pointer, six arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// A filter, ready to be installed any number of times.
#[derive(Debug, Clone)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// The program that decides as `policy` says. A call of another architecture ends its process.
    #[must_use]
    pub fn compile(policy: &Policy) -> Self {
        let mut program = vec![
            load(ARCHITECTURE),
            jump(JUMP_IF_EQUAL, NATIVE, 1, 0),
            give(libc::SECCOMP_RET_KILL_PROCESS),
            load(NUMBER),
        ];
        program.extend(search(&ranges(policy)));
        Self(program)
    }

    pub(super) fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

/// Every number belongs to the range with the greatest start that is not above it.
fn ranges(policy: &Policy) -> Vec<(u32, Decision)> {
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    for number in 0..=policy.last_known() + 1 {
        let decision = policy.decide(number);
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((number, decision));
        }
    }
    ranges
}

fn search(ranges: &[(u32, Decision)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![give(errno(libc::ENOSYS as u16))],
        [(_, decision)] => decide(decision),
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let (left, right) = (search(below), search(above));
            let mut block = skip_unless_at_least(above[0].0, left.len());
            block.extend(left);
            block.extend(right);
            block
        }
    }
}

/// Goes on behind the next `length` instructions when the number is at least `start`.
fn skip_unless_at_least(start: u32, length: usize) -> Vec<Instruction> {
    match u8::try_from(length) {
        Ok(length) => vec![jump(JUMP_IF_AT_LEAST, start, length, 0)],
        // A conditional jump reaches 255 instructions, an unconditional one any number.
        Err(_) => vec![jump(JUMP_IF_AT_LEAST, start, 0, 1), jump(JUMP, length as u32, 0, 0)],
    }
}

fn decide(decision: &Decision) -> Vec<Instruction> {
    match decision {
        Decision::Allow => vec![give(libc::SECCOMP_RET_ALLOW)],
        Decision::Errno(number) => vec![give(errno(*number))],
        Decision::Match { argument, mask, cases, otherwise } => {
            // The lower half: the kernel ignores the upper half of every argument looked at here.
            let mut block =
                vec![load(ARGUMENTS + 8 * u32::from(*argument)), jump(AND, *mask, 0, 0)];
            for (value, decision) in *cases {
                let then = decide(decision);
                let length = u8::try_from(then.len()).expect("decisions are short");
                block.push(jump(JUMP_IF_EQUAL, *value, 0, length));
                block.extend(then);
            }
            block.extend(decide(otherwise));
            block
        }
    }
}

const fn errno(number: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

const fn load(offset: u32) -> Instruction {
    jump(LOAD, offset, 0, 0)
}

const fn give(action: u32) -> Instruction {
    jump(RETURN, action, 0, 0)
}

const fn jump(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}
