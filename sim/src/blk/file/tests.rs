// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;

fn image(size: u64) -> (tempfile::TempDir, DiskOptions) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    File::create(&path).unwrap().set_len(size).unwrap();
    let options = DiskOptions {
        path,
        read_only: false,
        block_size: 512,
    };
    (folder, options)
}

#[test]
fn words_of_the_option() {
    let options = |text: &str| text.parse::<DiskOptions>();
    let plain = options("a/b").unwrap();
    assert_eq!(
        (plain.path, plain.read_only, plain.block_size),
        ("a/b".into(), false, 512)
    );
    let all = options("a,ro,block-size=4096").unwrap();
    assert_eq!((all.read_only, all.block_size), (true, 4096));
    for wrong in [
        "",
        ",ro",
        "a,",
        "a,rw",
        "a,block-size=513",
        "a,block-size=8192",
        "a,ro=1",
    ] {
        assert!(options(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn content_is_in_the_file() {
    let (_folder, options) = image(8192);
    let disk = FileDisk::open(&options).unwrap();
    assert_eq!((disk.size(), disk.block_size()), (8192, 512));
    disk.write(512, &[7; 1024]).unwrap();
    disk.flush().unwrap();
    let mut data = [1; 1536];
    disk.read(0, &mut data).unwrap();
    assert_eq!(data[..512], [0; 512]);
    assert_eq!(data[512..], [7; 1024]);
    let mut again = [1; 1536];
    // Not every file system can tell what is in the page cache: tmpfs can't.
    if disk.read_at_once(0, &mut again) {
        assert_eq!(again, data);
    }
    assert!(!disk.read_at_once(8000, &mut again), "only part is there");
    for free in [false, true] {
        disk.write(0, &[7; 2048]).unwrap();
        disk.zero(512, 1024, free).unwrap();
        let mut data = [1; 2048];
        disk.read(0, &mut data).unwrap();
        assert_eq!(data[..512], [7; 512]);
        assert_eq!(data[512..1536], [0; 1024]);
        assert_eq!(data[1536..], [7; 512]);
    }
    disk.discard(0, 8192).unwrap();
    assert_eq!(std::fs::metadata(&options.path).unwrap().len(), 8192);
}

#[test]
fn size_must_be_whole_blocks() {
    let (_folder, mut options) = image(8192 + 512);
    assert!(FileDisk::open(&options).is_ok());
    options.block_size = 1024;
    let error = FileDisk::open(&options).err().unwrap();
    assert!(error.to_string().contains("8704 bytes"), "{error}");
    let (_folder, options) = image(0);
    assert!(FileDisk::open(&options).is_err());
}

#[test]
fn file_has_one_writer() {
    let (_folder, mut options) = image(4096);
    let writer = FileDisk::open(&options).unwrap();
    assert!(FileDisk::open(&options).is_err());
    options.read_only = true;
    assert!(FileDisk::open(&options).is_err());
    drop(writer);
    let reader = FileDisk::open(&options).unwrap();
    assert!(FileDisk::open(&options).is_ok(), "two readers");
    assert!(reader.write(0, &[1]).is_err());
}

#[test]
fn content_stays_when_the_model_ends() {
    let (_folder, mut options) = image(8192);
    let mut content: Vec<u8> = (0..8192u32).map(|at| (at / 512 + at) as u8).collect();
    std::fs::write(&options.path, &content).unwrap();
    let disk = FileDisk::open(&options).unwrap();
    disk.write(4096, &[3; 512]).unwrap();
    drop(disk);
    content[4096..4608].fill(3);
    // Without a flush, and as others read it.
    assert_eq!(std::fs::read(&options.path).unwrap(), content);
    // Nor does opening change anything.
    for read_only in [false, true] {
        options.read_only = read_only;
        let disk = FileDisk::open(&options).unwrap();
        let mut data = [0; 8192];
        disk.read(0, &mut data).unwrap();
        drop(disk);
        assert_eq!(
            (&data[..], std::fs::read(&options.path).unwrap()),
            (&content[..], content.clone())
        );
    }
}

#[test]
fn little_is_unsynced() {
    let (_folder, options) = image(8 << 20);
    let disk = FileDisk::open(&options).unwrap();
    let unsynced = || disk.unsynced.load(Ordering::Relaxed);
    disk.write(0, &[1; 512]).unwrap();
    assert_eq!(unsynced(), 512);
    disk.flush().unwrap();
    assert_eq!(unsynced(), 0);
    let data = vec![1; 1 << 20];
    for round in 0..(MOST_UNSYNCED >> 20) + 16 {
        disk.write((round % 8) << 20, &data).unwrap();
        assert!(unsynced() <= MOST_UNSYNCED);
    }
}

#[test]
fn no_flush_succeeds_after_one_that_failed() {
    let (_folder, options) = image(8192);
    let disk = FileDisk::open(&options).unwrap();
    disk.flush().unwrap();
    assert!(disk
        .sync_with(|| Err(io::ErrorKind::StorageFull.into()))
        .is_err());
    // Writing and reading goes on: whoever wants to know asks by a flush.
    disk.write(0, &[1; 512]).unwrap();
    for _ in 0..2 {
        assert!(disk.flush().is_err());
    }
}

#[test]
fn what_the_file_system_cannot_do_is_done_without() {
    let unable: [Fallocate; 3] = [
        |_, _, _, _| Err(Errno::EINVAL),
        |_, _, _, _| Err(Errno::EOPNOTSUPP),
        |_, _, _, _| Err(Errno::ENODEV),
    ];
    for fallocate in unable {
        let (_folder, options) = image(8192);
        let mut disk = FileDisk::open(&options).unwrap();
        disk.fallocate = fallocate;
        disk.write(0, &[7; 8192]).unwrap();
        let content = || {
            let mut data = [1; 8192];
            disk.read(0, &mut data).unwrap();
            data
        };
        // Nothing has to be done.
        disk.discard(512, 1024).unwrap();
        assert_eq!(content(), [7; 8192]);
        // Zeros are written, and nothing beside them.
        for (at, free) in [(512, false), (4096, true)] {
            disk.zero(at as u64, 1024, free).unwrap();
            let data = content();
            assert_eq!(data[at..at + 1024], [0; 1024]);
            assert_eq!((data[at - 1], data[at + 1024]), (7, 7));
        }
    }
}

#[test]
fn errors_of_the_file_system_are_errors() {
    let (_folder, options) = image(8192);
    let mut disk = FileDisk::open(&options).unwrap();
    disk.fallocate = |_, _, _, _| Err(Errno::EIO);
    assert!(disk.discard(0, 512).is_err() && disk.zero(0, 512, true).is_err());
}
