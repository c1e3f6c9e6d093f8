//! Array maps in this process's memory: reads without system calls, and stores that packets see whole.

use std::{
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::Pod;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// An array map created with `BPF_F_MMAPABLE`, mapped for reading and writing.
///
/// Values are made of 64-bit words. Each word is loaded and stored at once; a value of several words can be seen half written, so
/// the order of words matters, see [`MappedArray::store_words`].
///
/// # Minimum kernel version
///
/// 5.5
pub struct MappedArray<T> {
    start: NonNull<AtomicU64>,
    bytes: usize,
    entries: u32,
    value: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel anyway and only accessed through atomics.
unsafe impl<T> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedArray<T> {}

impl<T: Pod> MappedArray<T> {
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(8), "values of mapped arrays are whole words");
        size_of::<T>() / 8
    };

    /// Maps an array of `entries` values.
    ///
    /// # Errors
    /// Those of `mmap`: `EPERM` or `EINVAL` if the map was not made for it, `ENOMEM`.
    pub fn new(map: impl AsFd, entries: u32) -> io::Result<Self> {
        let page = page_size();
        let bytes = (entries as usize * Self::WORDS * 8).next_multiple_of(page);
        let length = NonZeroUsize::new(bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty map"))?;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours is there.
        let start = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map,
                0,
            )
        }?;
        Ok(Self { start: start.cast(), bytes, entries, value: PhantomData })
    }

    /// Number of values.
    pub fn len(&self) -> u32 {
        self.entries
    }

    /// Has it no values?
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn words(&self, index: u32) -> &[AtomicU64] {
        assert!(index < self.entries, "index {index} of {} entries", self.entries);
        // SAFETY: within the mapping, as just checked; page aligned, and alive as long as `self`.
        unsafe {
            std::slice::from_raw_parts(
                self.start.as_ptr().add(index as usize * Self::WORDS),
                Self::WORDS,
            )
        }
    }

    /// Reads a value, word by word.
    ///
    /// # Panics
    /// If there is no such index.
    pub fn load(&self, index: u32) -> T {
        let mut value = std::mem::MaybeUninit::<T>::uninit();
        for (place, word) in self.words(index).iter().enumerate() {
            // SAFETY: `T` has as many words as the entry.
            unsafe {
                value
                    .as_mut_ptr()
                    .cast::<u64>()
                    .add(place)
                    .write_unaligned(word.load(Ordering::Acquire));
            }
        }
        // SAFETY: every word was written, and `Pod` types take any bytes.
        unsafe { value.assume_init() }
    }

    /// Writes a value, word by word in the order of `order`, which names each word to write.
    ///
    /// # Panics
    /// If there is no such index or word.
    pub fn store_words(&self, index: u32, value: &T, order: impl IntoIterator<Item = usize>) {
        let words = self.words(index);
        for place in order {
            let target = &words[place];
            // SAFETY: `place` is a word of `T`, or the line above had panicked.
            let word =
                unsafe { std::ptr::from_ref(value).cast::<u64>().add(place).read_unaligned() };
            target.store(word, Ordering::Release);
        }
    }

    /// Writes all words of a value, the first one last: packets find a new key or table word only when the rest is there.
    ///
    /// # Panics
    /// If there is no such index.
    pub fn store(&self, index: u32, value: &T) {
        self.store_words(index, value, (0..Self::WORDS).rev());
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; references into it do not outlive `self`.
        let _ignored = unsafe { munmap(self.start.cast(), self.bytes) };
    }
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}
