//! Runs are kept, one file for each, by date and machine.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Evidence, Outcome};
use crate::exhibit::Part;
use crate::{Error, files};

/// Keeps a run in a folder, without its images: they are large, and nothing in them is compared.
/// A record is never overwritten.
pub fn keep(evidence: &Evidence, folder: &Path) -> Result<PathBuf, Error> {
    let mut record = evidence.clone();
    for outcome in &mut record.outcomes {
        if let Outcome::Made(made) = outcome {
            made.exhibit.parts.retain(|part| !matches!(part, Part::Images(_)));
        }
    }
    files::make(folder)?;
    let path = folder.join(name(evidence));
    let json = serde_json::to_string_pretty(&record).expect("a record has only texts as keys");
    let written = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = written.and_then(|mut file| file.write_all((json + "\n").as_bytes()));
    written.map_err(|error| Error::File { path: path.clone(), error })?;
    Ok(path)
}

/// All runs that are kept in a folder, and the files there that are none.
pub fn all(folder: &Path) -> Result<(Vec<Evidence>, Vec<PathBuf>), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::File { path, error }
    };
    if !folder.exists() {
        return Ok((vec![], vec![]));
    }
    let (mut records, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        match serde_json::from_str(&text) {
            Ok(record) => records.push(record),
            Err(_) => others.push(path),
        }
    }
    Ok((records, others))
}

/// `2026-11-21T05-40-00Z-intel-xeon-2-threads.json`: what every file system takes.
fn name(evidence: &Evidence) -> String {
    let plain = |text: &str| {
        let words =
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    };
    let here = &evidence.circumstances;
    let machine: String = plain(&here.machine).to_lowercase().chars().take(80).collect();
    format!("{}-{}.json", here.date.replace(':', "-").replace(['/', '\\'], ""), machine)
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn records_are_kept_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("records");
        assert_eq!(all(&folder).unwrap(), (vec![], vec![]));
        let evidence = example("x");
        let path = keep(&evidence, &folder).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "2026-11-21T05-40-00Z-a-processor-2-threads-release-build-x.json");
        assert!(keep(&evidence, &folder).is_err(), "never overwritten");
        fs::write(folder.join("other.json"), "{}").unwrap();
        fs::write(folder.join("README.md"), "").unwrap();
        let (records, others) = all(&folder).unwrap();
        assert_eq!(others, [folder.join("other.json")]);
        let mut without_images = evidence;
        let Outcome::Made(made) = &mut without_images.outcomes[0] else { panic!("it was made") };
        assert!(matches!(made.exhibit.parts.pop(), Some(Part::Images(_))));
        assert_eq!(records, [without_images]);
    }
}
