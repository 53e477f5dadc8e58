//! Where a result goes: everything that can be refused is refused before any work, and nothing that
//! is not a result of the same kind is overwritten unknowingly.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gelu_files::{self as files, Access};

use crate::page;
use crate::problem::{cannot_write, problem};

/// What kind of file is written, and so what it may replace without `--force`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A model of ours.
    Model,
    /// Features of rows, in a safetensors file of ours.
    Features,
    /// A page of ours.
    Report,
    /// A table or a text that begins with these words, by which it is known.
    Beginning(&'static str),
}

/// A place for a result that was found good before the work began.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    path: PathBuf,
    kind: Kind,
}

impl Destination {
    /// Checks that the file behind `path` can be written (by making and removing another one beside
    /// it), that no server works with it, that it is none of `inputs`, and that what stands there
    /// is of the same `kind`. `force` overrides the last two, but never for a secret key or a ledger.
    ///
    /// # Errors
    /// What is so, and what to do next.
    pub(crate) fn check(path: &Path, kind: Kind, inputs: &[&Path], force: bool) -> Result<Self> {
        let shown = path.display();
        files::check_writable(path).map_err(|error| cannot_write(path, &error))?;
        if files::is_locked(path).map_err(|error| cannot_write(path, &error))? {
            return Err(problem(
                format!("{shown} is in use by a server, which would undo the change"),
                "stop that server first, or choose another path",
            ));
        }
        let found = Found::at(path).map_err(|error| cannot_write(path, &error))?;
        if matches!(found, Found::Secret | Found::Ledger) {
            return Err(problem(
                format!("{shown} holds {found}, which is never overwritten"),
                "choose another path, or move that file away",
            ));
        }
        if force {
            return Ok(Self { path: path.into(), kind });
        }
        if inputs.iter().any(|input| files::same(input, path)) {
            return Err(problem(
                format!("{shown} is an input of this very run"),
                "choose another path, or add --force to overwrite it",
            ));
        }
        if !found.may_become(kind) {
            return Err(problem(
                format!("{shown} holds {found}, not {kind}"),
                "choose another path, or add --force to overwrite it",
            ));
        }
        Ok(Self { path: path.into(), kind })
    }

    /// The path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the result, all or nothing; a link stays a link.
    ///
    /// # Errors
    /// What the system says. If a server has begun to work with the file meanwhile, the result is
    /// written beside it, and the error says where.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        let failed = |error| cannot_write(&self.path, &error);
        let access = match self.kind {
            Kind::Model | Kind::Features => Access::Private,
            Kind::Report | Kind::Beginning(_) => Access::Shared,
        };
        if files::is_locked(&self.path).map_err(failed)? {
            let aside = self.path.with_added_extension("new");
            files::replace(&aside, bytes, access).map_err(|error| cannot_write(&aside, &error))?;
            let what = format!("a server has taken {} meanwhile", self.path.display());
            return Err(problem(what, format!("the result is in {}", aside.display())));
        }
        files::replace(&self.path, bytes, access).map_err(failed)
    }
}

/// What stands at a path, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing, or no byte.
    Nothing,
    /// A pipe or a device, which keeps nothing.
    Device,
    Secret,
    Ledger,
    /// A result of this kind.
    Result(Kind),
    /// A text that no kind claims, by its first bytes.
    Other([u8; MOST_BEGINNING]),
}

impl Found {
    fn at(path: &Path) -> std::io::Result<Self> {
        match std::fs::metadata(path) {
            Err(_) => return Ok(Self::Nothing),
            Ok(found) if !found.is_file() => return Ok(Self::Device),
            Ok(_) => {}
        }
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        Ok(Self::of(&head))
    }

    fn of(head: &[u8]) -> Self {
        let has = |words: &str| head.windows(words.len()).any(|w| w == words.as_bytes());
        let begins = |words: &str| head.starts_with(words.as_bytes());
        let json = head.trim_ascii_start().starts_with(b"{");
        match head {
            [] => Self::Nothing,
            _ if has("PRIVATE KEY-----") || (json && has("-secret-key\"")) => Self::Secret,
            _ if json && has("\"format\"") && (has("\"ledger\"") || has("\"model\"")) => {
                Self::Ledger
            }
            [_, _, _, _, _, 0, 0, 0, b'{', ..] if has("gelu-features") => {
                Self::Result(Kind::Features)
            }
            [_, _, _, _, _, 0, 0, 0, b'{', ..] if has("gelu") => Self::Result(Kind::Model),
            _ if has("Written by gelu") && REPORTS.iter().any(|beginning| begins(beginning)) => {
                Self::Result(Kind::Report)
            }
            _ => {
                let mut beginning = [0; MOST_BEGINNING];
                let length = head.len().min(MOST_BEGINNING);
                beginning[..length].copy_from_slice(&head[..length]);
                Self::Other(beginning)
            }
        }
    }

    fn may_become(&self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Nothing | Self::Device, _) => true,
            (Self::Result(found), kind) => *found == kind,
            (Self::Other(found), Kind::Beginning(words)) => found.starts_with(words.as_bytes()),
            _ => false,
        }
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Device => f.write_str("a device"),
            Self::Secret => f.write_str("a secret key"),
            Self::Ledger => f.write_str("a ledger"),
            Self::Result(kind) => kind.fmt(f),
            Self::Other(_) => f.write_str("something else"),
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "a model of this program",
            Self::Features => "features that this program wrote",
            Self::Report => "a report of this program",
            Self::Beginning(_) => "an older result of this command",
        })
    }
}

/// How reports begin: those of this version, and of older ones.
const REPORTS: [&str; 2] = [page::BEGINNING, "<!doctype html>\n<html lang=\"en\">"];
/// Bytes that are looked at: a whole report, or a model's whole header.
const HEAD: u64 = 16 << 20;
const MOST_BEGINNING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Precision;
    use gelu_nn::{Model, Split, zoo};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn model() -> Vec<u8> {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let model = Model::initialise("iris", zoo::iris(), Precision::TRAINING, rng).unwrap();
        model.to_bytes().unwrap()
    }

    fn refusal(path: &Path, kind: Kind, inputs: &[&Path], force: bool) -> String {
        match Destination::check(path, kind, inputs, force) {
            Ok(_) => String::new(),
            Err(error) => crate::problem::explain(&error),
        }
    }

    #[test]
    fn only_an_older_result_of_the_same_kind_is_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let page = b"<!doctype html>\n<html lang=\"en\">\n<footer>Written by gelu 1".to_vec();
        let table = Kind::Beginning("row,class\n");
        let kinds = [Kind::Model, Kind::Features, Kind::Report, table];
        let (rows, _) = Split::unscaled_with_schema("iris", Path::new(""), 1).unwrap();
        let features = rows.to_tensors().unwrap();
        let contents = [model(), features, page, b"row,class\n1,2".to_vec()];
        for (i, content) in contents.iter().enumerate() {
            for (j, kind) in kinds.into_iter().enumerate() {
                std::fs::write(&path, content).unwrap();
                let said = refusal(&path, kind, &[], false);
                assert_eq!(said.is_empty(), i == j, "{kind:?} over {i}: {said}");
                assert_eq!(refusal(&path, kind, &[], true), "");
            }
        }
        for other in [&b"a,b\n1,2\n"[..], b"<html>mine</html>", b"\0\0\0\0\0\0\0\0{}", b"{}", b"x"]
        {
            std::fs::write(&path, other).unwrap();
            for kind in kinds {
                let said = refusal(&path, kind, &[], false);
                assert!(said.contains("--force"), "{other:?} {said}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), other, "a check changes nothing");
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(refusal(&path, Kind::Model, &[], false), "", "an empty file is no loss");
    }

    #[test]
    fn secrets_and_ledgers_are_not_replaced_even_if_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for content in [
            "{\n  \"format\": \"gelu-paillier-secret-key\",\n  \"version\": 1}",
            "-----BEGIN PRIVATE KEY-----\nMIG",
            "{\n  \"format\": 1,\n  \"model\": \"iris\",\n  \"ledger\": {}}",
            "{\"format\":2,\"model\":\"iris\"}\n",
        ] {
            std::fs::write(&path, content).unwrap();
            for force in [false, true] {
                let said = refusal(&path, Kind::Model, &[], force);
                assert!(said.contains("never overwritten"), "{content}: {said}");
            }
        }
    }

    #[test]
    fn inputs_locked_models_and_missing_folders_are_refused_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("m"), model()).unwrap();
        assert!(refusal(&at("m"), Kind::Model, &[&at("m")], false).contains("is an input"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("m", at("link")).unwrap();
            std::fs::hard_link(at("m"), at("hard")).unwrap();
            for name in ["link", "hard"] {
                let said = refusal(&at(name), Kind::Model, &[&at("m")], false);
                assert!(said.contains("is an input"), "{name}: {said}");
            }
        }
        let out = Destination::check(&at("m"), Kind::Model, &[], false).unwrap();
        let lock = gelu_files::Lock::take(&at("m")).unwrap();
        for force in [false, true] {
            assert!(refusal(&at("m"), Kind::Model, &[], force).contains("in use by a server"));
        }
        let late = crate::problem::explain(&out.write(b"new").unwrap_err());
        assert!(late.contains("m.new"), "{late}");
        assert_eq!(std::fs::read(at("m.new")).unwrap(), b"new", "paid work is kept");
        assert_eq!(std::fs::read(at("m")).unwrap(), model());
        drop(lock);
        out.write(b"new").unwrap();
        assert_eq!(std::fs::read(out.path()).unwrap(), b"new");
        assert!(refusal(&at("no/folder/m"), Kind::Model, &[], false).contains("check the path"));
        assert!(refusal(folder.path(), Kind::Report, &[], true).contains("not a folder"));
        assert!(refusal(&at("m/below"), Kind::Report, &[], true).contains("cannot write"));
    }
}
