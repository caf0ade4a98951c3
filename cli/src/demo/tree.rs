//! The objects of the demo.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use md5::{Digest, Md5};
use migration_core::etag::Md5Digest;
use migration_core::object::{Attributes, Tags};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

/// Keys that other tools stumble over.
const AWKWARD: [&str; 12] = [
    "awkward/a//b",
    "awkward//",
    "awkward/.././x",
    "awkward/ leading and trailing ",
    "awkward/percent%20plus+hash#question?",
    "awkward/quote\"back\\slash'",
    "awkward/tab\tnewline\n",
    "awkward/ünïcödé/日本語/👍",
    "awkward/<xml>&amp;",
    "awkward/directory/",
    "awkward/e\u{301} and é",
    "awkward/*[?]",
];
/// Size of the large object, in bytes.
const LARGE: usize = 160 << 20;
/// Number of objects of a few megabytes.
const MIDDLE_SIZED: u32 = 16;

/// Failures to make the objects.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file or directory can't be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A name is no text.
    #[error("failed to use the name of {0:?} as a key: it is not UTF-8")]
    Name(PathBuf),
}

/// The objects to copy.
pub struct Tree(Vec<DemoObject>);

/// An object to copy.
pub struct DemoObject {
    /// Its key.
    pub key: String,
    /// Its headers and metadata.
    pub attributes: Attributes,
    /// Its tags.
    pub tags: Tags,
    content: DemoContent,
}

enum DemoContent {
    /// Random bytes: a seed and their number.
    Random(u64, usize),
    /// A file.
    File(PathBuf),
}

impl Tree {
    /// Makes small objects, some of them with tags and metadata, some of a few megabytes, awkward keys, and one large
    /// object. The same number always makes the same objects.
    pub fn generated(small: u32) -> Self {
        let mut random = SmallRng::seed_from_u64(u64::from(small));
        let mut objects = Vec::new();
        for number in 0..small {
            let key = format!("photos/{:04}/{:02}/IMG_{number:06}.jpg", 2000 + number % 26, 1 + number % 12);
            let mut object = DemoObject::random(key, number.into(), random.random_range(0..24 << 10));
            if number % 10 == 0 {
                object.attributes.content_type = Some("image/jpeg".to_owned());
                object.attributes.metadata = BTreeMap::from([("camera".to_owned(), format!("model {}", number % 7))]);
            }
            if number % 25 == 0 {
                object.tags = Tags::from([("album".to_owned(), format!("{} & more", number % 26))]);
            }
            objects.push(object);
        }
        for number in 0..MIDDLE_SIZED {
            let size = random.random_range(1 << 20..4 << 20);
            objects.push(DemoObject::random(format!("videos/clip {number:02}.mp4"), 1 << 32 | u64::from(number), size));
        }
        for (number, key) in (0..).zip(AWKWARD) {
            objects.push(DemoObject::random(key.to_owned(), 2 << 32 | number, 100));
        }
        objects.push(DemoObject::random("backups/disk.img".to_owned(), 3 << 32, LARGE));
        Self(objects)
    }

    /// Takes the files of a directory and of those below. Symbolic links are not followed.
    pub fn of_directory(directory: &Path) -> Result<Self, TreeError> {
        let mut objects = Vec::new();
        let mut directories = vec![directory.to_owned()];
        while let Some(next) = directories.pop() {
            let failed = |source| TreeError::Read { path: next.clone(), source };
            for entry in std::fs::read_dir(&next).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
                if kind.is_dir() {
                    directories.push(path);
                } else if kind.is_file() {
                    let name = path.strip_prefix(directory).unwrap_or(&path).to_str();
                    let key = name.ok_or_else(|| TreeError::Name(path.clone()))?.to_owned();
                    objects.push(DemoObject::new(key, DemoContent::File(path)));
                }
            }
        }
        Ok(Self(objects))
    }

    /// Returns the objects.
    pub fn objects(&self) -> &[DemoObject] {
        &self.0
    }
}

impl DemoObject {
    fn new(key: String, content: DemoContent) -> Self {
        Self { key, attributes: Attributes::default(), tags: Tags::default(), content }
    }

    fn random(key: String, seed: u64, size: usize) -> Self {
        Self::new(key, DemoContent::Random(seed, size))
    }

    /// Returns its bytes.
    pub fn body(&self) -> Result<Bytes, TreeError> {
        match &self.content {
            DemoContent::Random(seed, size) => {
                let mut bytes = vec![0; *size];
                SmallRng::seed_from_u64(*seed).fill_bytes(&mut bytes);
                Ok(bytes.into())
            }
            DemoContent::File(path) => {
                let read = std::fs::read(path).map_err(|source| TreeError::Read { path: path.clone(), source });
                Ok(read?.into())
            }
        }
    }
}

/// Returns the MD5 of a body.
pub fn md5(body: &[u8]) -> Md5Digest {
    Md5::digest(body).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_tree_is_the_same_each_time() {
        let (one, two) = (Tree::generated(50), Tree::generated(50));
        assert_eq!(one.objects().len(), 50 + 16 + 12 + 1);
        for (a, b) in one.objects().iter().zip(two.objects()).take(60) {
            assert_eq!((&a.key, a.body().unwrap()), (&b.key, b.body().unwrap()));
        }
    }

    #[test]
    fn files_are_objects_by_their_relative_paths() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("sub/a.txt"), b"bytes").unwrap();
        let tree = Tree::of_directory(directory.path()).unwrap();
        let [object] = tree.objects() else { panic!("one file") };
        assert_eq!((object.key.as_str(), object.body().unwrap().as_ref()), ("sub/a.txt", b"bytes".as_slice()));
        assert!(Tree::of_directory(&directory.path().join("none")).is_err());
    }
}
