//! What `netd` makes of a box's question and a name server's answer: no panic, nothing opened that no
//! name may open.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let (question, answer) = bytes.split_at(bytes.len().min(usize::from(*cut)));
    boxherd_net::netd::fuzz::dns(question, answer);
});
