// SPDX-License-Identifier: GPL-2.0-only

//! A directory of files in debugfs that hold the module while they are open.
//!
//! The kernel crate's `debugfs::File` doesn't; helpers.c says what comes of it.

use kernel::{
    bindings,
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

// `struct dentry` has members of no size in some configurations, which is fine in C and in Rust.
#[allow(improper_ctypes)]
unsafe extern "C" {
    // In helpers.c.
    fn mooring_helper_debugfs_create_dir(name: *const c_char) -> *mut bindings::dentry;
    fn mooring_helper_debugfs_create_file(
        dir: *mut bindings::dentry,
        name: *const c_char,
        contents: *mut c_void,
    );
    fn mooring_helper_debugfs_remove_dir(dir: *mut bindings::dentry);
}

/// What a file says, anew each time it is read. Several readers may ask at once, and a reader more than
/// once if the answer is longer than its buffer was.
type Contents = KBox<dyn fmt::Display + Send + Sync>;

/// A file's name and contents.
pub(super) type File = (&'static CStr, Contents);

/// A device's directory, and all files in it. A reader that is under way has finished when it is dropped,
/// and whoever has a file open then gets `EIO` for every further read.
///
/// As usual with debugfs, nobody learns whether the kernel has made the directory and the files.
///
/// # Invariants
///
/// - `dir` was returned by `mooring_helper_debugfs_create_dir()` and has not been removed.
/// - The private data of each file in it points to the [`Contents`] of an element of `files`, which doesn't
///   change.
pub(super) struct Dir {
    dir: *mut bindings::dentry,
    files: KBox<[File]>,
}

// SAFETY: The debugfs functions may be called from any thread, and `File` is `Send`.
unsafe impl Send for Dir {}

// SAFETY: Nothing takes a shared reference to it.
unsafe impl Sync for Dir {}

impl Dir {
    /// Makes the directory of the device `name`, with these files.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory for the list of files.
    pub(super) fn new<const N: usize>(name: &CStr, files: [File; N]) -> Result<Self> {
        let files = KBox::new(files, GFP_KERNEL)?;

        // INVARIANT: The directory is new and has no files yet.
        let dir = Self {
            // SAFETY: `name` is a C string, which debugfs copies.
            dir: unsafe { mooring_helper_debugfs_create_dir(name.as_char_ptr()) },
            files,
        };

        for (name, contents) in dir.files.iter() {
            // `mooring_debugfs_show()`, to which it goes, makes only shared references of it.
            let contents = core::ptr::from_ref(contents).cast_mut().cast();
            // SAFETY: By the type invariant, the directory has not been removed. `name` is a C string,
            // which debugfs copies. `contents` lies in a box that is dropped only after `Dir::drop()` has
            // removed the directory, and whose contents stay in place when the box is moved.
            // Nobody has an exclusive reference to it until then.
            //
            // INVARIANT: `contents` is in an element of `files`.
            unsafe { mooring_helper_debugfs_create_file(dir.dir, name.as_char_ptr(), contents) };
        }
        Ok(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // The contents are dropped after this, when nobody reads them any more.
        //
        // SAFETY: By the type invariant, the directory has not been removed.
        unsafe { mooring_helper_debugfs_remove_dir(self.dir) };
    }
}

/// Writes what a file says. The operations of a file made by `mooring_helper_debugfs_create_file()` call
/// this through seq_file for each read that needs it.
///
/// # Safety
///
/// `seq` must be a `seq_file` that the caller has for itself, whose private data points to a live
/// [`Contents`] to which there is no exclusive reference during the call.
#[no_mangle]
unsafe extern "C" fn mooring_debugfs_show(
    seq: *mut bindings::seq_file,
    _unused: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let contents = unsafe { &*(*seq).private.cast::<Contents>() };
    // SAFETY: By the safety requirements.
    let seq = unsafe { SeqFile::from_raw(seq) };

    seq_print!(seq, "{}", &**contents);
    0
}
