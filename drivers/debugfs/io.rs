// SPDX-License-Identifier: GPL-2.0-only

//! A directory of files in debugfs that hold the module while they are open.
//!
//! The kernel crate's `debugfs::File` doesn't; helpers.c says what comes of it.

use kernel::{
    bindings,
    error::from_result,
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CString, //
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
        kind: c_uint,
    );
    fn mooring_helper_debugfs_remove_dir(dir: *mut bindings::dentry);
}

/// A text of many lines, which is too long to be written at once.
pub(super) trait Lines: Send + Sync {
    /// Begins to read it. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    fn open(&self) -> Result<KBox<dyn Reader>>;
}

/// Somebody who reads such a text, and keeps one line of it. A reader may live longer than the files, as long as
/// somebody has one open.
pub(crate) trait Reader: Send {
    /// Goes on to the next line, at first to the first one; returns `false` if there is none. May sleep.
    fn advance(&mut self) -> bool;

    /// Writes the line, maybe more than once.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Something that can be set.
pub(super) trait Setting: fmt::Display + Send + Sync {
    /// Sets it to what was written, which is at most 16 bytes of anything. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that makes no sense.
    fn set(&self, text: &[u8]) -> Result;
}

/// What a file says. Several readers may ask at once.
pub(super) enum Contents {
    /// Written anew each time it is read, and more than once if the text is longer than the buffer was.
    Whole(KBox<dyn fmt::Display + Send + Sync>),
    /// Written line by line.
    Lines(KBox<dyn Lines>),
    /// As the first, and can be set.
    Setting(KBox<dyn Setting>),
}

impl Contents {
    /// The number that helpers.h has for the kind.
    fn kind(&self) -> c_uint {
        match self {
            Self::Whole(_) => 0,
            Self::Lines(_) => 1,
            Self::Setting(_) => 2,
        }
    }
}

/// A file's name and contents.
pub(super) type File = (CString, Contents);

/// A device's directory, and all files in it. A reader that is under way has finished when it is dropped,
/// and whoever has a file open then gets `EIO` for every further read.
///
/// As usual with debugfs, nobody learns whether the kernel has made the directory and the files.
///
/// # Invariants
///
/// - `dir` was returned by `mooring_helper_debugfs_create_dir()` and has not been removed.
/// - The private data of each file in it points to the [`Contents`] of an element of `files`, which doesn't
///   change, and the file was made with their [`Contents::kind()`].
pub(super) struct Dir {
    dir: *mut bindings::dentry,
    files: KVec<File>,
}

// SAFETY: The debugfs functions may be called from any thread, and `File` is `Send`.
unsafe impl Send for Dir {}

// SAFETY: Nothing takes a shared reference to it.
unsafe impl Sync for Dir {}

impl Dir {
    /// Makes the directory of the device `name`, with these files.
    pub(super) fn new(name: &CStr, files: KVec<File>) -> Self {
        // INVARIANT: The directory is new and has no files yet.
        let dir = Self {
            // SAFETY: `name` is a C string, which debugfs copies.
            dir: unsafe { mooring_helper_debugfs_create_dir(name.as_char_ptr()) },
            files,
        };

        for (name, contents) in dir.files.iter() {
            let kind = contents.kind();
            // The functions below, to which it goes, make only shared references of it.
            let contents = core::ptr::from_ref(contents).cast_mut().cast();
            // SAFETY: By the type invariant, the directory has not been removed. `name` is a C string,
            // which debugfs copies. `contents` lies in a vector that nothing is added to, and that is dropped
            // only after `Dir::drop()` has removed the directory; its elements stay in place when the vector
            // is moved. Nobody has an exclusive reference to it until then.
            //
            // INVARIANT: `contents` is in an element of `files`, and `kind` is its kind.
            unsafe {
                mooring_helper_debugfs_create_file(dir.dir, name.as_char_ptr(), contents, kind)
            };
        }
        dir
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

    match contents {
        Contents::Whole(contents) => seq_print!(seq, "{}", &**contents),
        Contents::Setting(setting) => seq_print!(seq, "{}", &**setting),
        Contents::Lines(_) => {}
    }
    0
}

/// Sets what a file is about. The operations of a file made by `mooring_helper_debugfs_create_file()` call this for
/// each write.
///
/// # Safety
///
/// `contents` must point to a live [`Contents`] to which there is no exclusive reference during the call, and `text` must
/// be valid for reading `len` bytes, which nobody writes meanwhile.
#[no_mangle]
unsafe extern "C" fn mooring_debugfs_set(
    contents: *mut c_void,
    text: *const c_char,
    len: usize,
) -> c_int {
    // SAFETY: By the safety requirements.
    let contents = unsafe { &*contents.cast::<Contents>() };
    // SAFETY: By the safety requirements.
    let text = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), len) };

    match contents {
        Contents::Setting(setting) => from_result(|| setting.set(text).map(|()| 0)),
        _ => EINVAL.to_errno(),
    }
}

/// A file of [`Contents::Lines`] that is open.
struct OpenLines {
    reader: KBox<dyn Reader>,
    /// Number of the line that `reader` is at, counted from 0; -1 before the first.
    position: i64,
    /// Whether there is that line.
    there: bool,
}

impl OpenLines {
    /// Goes to line `position`, which may be the one at hand or the next. Returns whether there is such a line;
    /// seq_file asks for no other one, since these files can't be rewound.
    fn go_to(&mut self, position: i64) -> bool {
        if self.position.checked_add(1) == Some(position) {
            self.there = self.reader.advance();
            self.position = position;
        }
        self.there && self.position == position
    }
}

/// The line at hand, for a formatter.
pub(crate) struct Line<'a>(pub(crate) &'a dyn Reader);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

/// Begins to read a file of lines: returns what is to be given to the functions below, an error pointer if it
/// fails. It has to be given to [`mooring_debugfs_lines_free()`] at last.
///
/// # Safety
///
/// `contents` must point to a live [`Contents`] to which there is no exclusive reference during the call.
#[no_mangle]
unsafe extern "C" fn mooring_debugfs_lines_new(contents: *mut c_void) -> *mut c_void {
    // SAFETY: By the safety requirements.
    let contents = unsafe { &*contents.cast::<Contents>() };
    let Contents::Lines(lines) = contents else {
        return EINVAL.to_ptr();
    };
    let open = lines.open().and_then(|reader| {
        let open = OpenLines {
            reader,
            position: -1,
            there: false,
        };
        Ok(KBox::new(open, GFP_KERNEL)?)
    });

    match open {
        Ok(open) => KBox::into_raw(open).cast(),
        Err(error) => error.to_ptr(),
    }
}

/// Ends it.
///
/// # Safety
///
/// `open` must come from [`mooring_debugfs_lines_new()`]. It must not be used any more.
#[no_mangle]
unsafe extern "C" fn mooring_debugfs_lines_free(open: *mut c_void) {
    // SAFETY: By the safety requirements, it was made by `KBox::into_raw()`, and nobody else has it.
    drop(unsafe { KBox::from_raw(open.cast::<OpenLines>()) });
}

/// Goes to line `position`, see [`OpenLines::go_to()`].
///
/// # Safety
///
/// `open` must come from [`mooring_debugfs_lines_new()`], and the caller must have it for itself.
#[no_mangle]
unsafe extern "C" fn mooring_debugfs_lines_go_to(open: *mut c_void, position: i64) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { &mut *open.cast::<OpenLines>() }.go_to(position)
}

/// Writes the line at hand.
///
/// # Safety
///
/// `seq` must be a `seq_file` that the caller has for itself, whose private data comes from
/// [`mooring_debugfs_lines_new()`].
#[no_mangle]
unsafe extern "C" fn mooring_debugfs_lines_show(
    seq: *mut bindings::seq_file,
    _line: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let open = unsafe { &*(*seq).private.cast::<OpenLines>() };
    // SAFETY: By the safety requirements.
    let seq = unsafe { SeqFile::from_raw(seq) };

    seq_print!(seq, "{}", Line(&*open.reader));
    0
}
