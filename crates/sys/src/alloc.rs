//! The allocator of programs that are linked with musl, whose own maps and unmaps every buffer of a bulk
//! transfer: 144 µs for 256 KiB, and 5 with this one.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Dlmalloc::new()));

/// One heap for all threads, which keeps up to 2 MiB that nobody uses.
struct Heap(Mutex<Dlmalloc>);

impl Heap {
    fn lock(&self) -> MutexGuard<'_, Dlmalloc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn trim() {
    // SAFETY: nobody else has the heap meanwhile.
    unsafe { HEAP.lock().trim(0) };
}

// SAFETY: every call is passed on to one heap with what it was given, under a lock that allocates nothing.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is that of the heap, but for sizes of 0, which the heap takes.
        unsafe { self.lock().malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.lock().calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller has it from this heap with this layout.
        unsafe { self.lock().free(pointer, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has it from this heap with this layout.
        unsafe { self.lock().realloc(pointer, layout.size(), layout.align(), size) }
    }
}
