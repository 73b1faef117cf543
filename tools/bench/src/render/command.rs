//! `mpg-bench report`: reads a comparison and writes it as text.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{html, markdown, table};
use crate::compare::result::Comparison;
use crate::Failure;

/// What to read, and what to write it as.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON that `mpg-bench compare` wrote
    #[arg(value_name = "FILE.json")]
    comparison: PathBuf,
    /// Write one HTML page with plots into this file
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Write a Markdown section into this file
    #[arg(long, value_name = "OUT.md")]
    markdown: Option<PathBuf>,
    /// Put the Markdown section into this document, before its older ones
    #[arg(long, value_name = "DOCS.md")]
    section: Option<PathBuf>,
}

/// Writes what was asked for; the table to stdout where nothing was.
pub fn run(args: &Args) -> Result<(), Failure> {
    let comparison = Comparison::read(&args.comparison).map_err(Failure::BadInput)?;
    // First, since it alone can find its file unfit.
    if let Some(path) = &args.section {
        let document = fs::read_to_string(path)
            .with_context(|| format!("cannot read the document {}", path.display()))?;
        let section = markdown::section(&comparison);
        let Some(document) = markdown::with_newest(&document, &section) else {
            return Err(Failure::BadInput(format!(
                "{} has no line \"{}\"; put one where the newest comparison shall go",
                path.display(),
                markdown::MARKER
            )));
        };
        replace(path, &document)?;
    }
    if let Some(path) = &args.markdown {
        replace(path, &markdown::section(&comparison))?;
    }
    if let Some(path) = &args.html {
        replace(path, &html::page(&comparison))?;
    }
    if args.section.is_none() && args.markdown.is_none() && args.html.is_none() {
        let mut out = io::stdout().lock();
        out.write_all(table::table(&comparison).as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the table to stdout")?;
    }
    Ok(())
}

/// Writes the text into the file, or leaves the file as it was. What is no regular file is written to directly.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    // Through a link, as a write would go; the file itself need not exist yet.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let written = match fs::metadata(&target) {
        Ok(old) if !old.is_file() => fs::write(&target, text),
        old => write_beside(&target, text, old.ok().map(|old| old.permissions())),
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn write_beside(target: &Path, text: &str, permissions: Option<fs::Permissions>) -> io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let beside = target.with_file_name(name);
    let written = File::create_new(&beside).and_then(|mut file| {
        let done = file
            .write_all(text.as_bytes())
            .and_then(|()| permissions.map_or(Ok(()), |p| file.set_permissions(p)))
            // Before the rename: after a crash there shall be the old text or the new one, never an empty file.
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&beside, target));
        if done.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&beside);
        }
        done
    });
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::made_up;

    /// A directory of this test alone, gone with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Result<Self> {
            let path =
                std::env::temp_dir().join(format!("mpg-bench-{name}-{}", std::process::id()));
            fs::create_dir(&path)?;
            Ok(Scratch(path))
        }

        fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
            let path = self.0.join(name);
            fs::write(&path, text)?;
            Ok(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn sentence(args: &Args) -> String {
        match run(args) {
            Ok(()) => panic!("accepted: {args:?}"),
            Err(Failure::BadInput(sentence)) => sentence,
            Err(Failure::Broken(error)) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_document_gets_its_newest_section_and_nothing_is_left_beside_it() -> Result<()> {
        let scratch = Scratch::new("section")?;
        let json = serde_json::to_string(&made_up::small())?;
        let document = format!("# Figures\n\n{}\n\n## old\n", markdown::MARKER);
        let mut args = Args {
            comparison: scratch.file("c.json", &json)?,
            html: Some(scratch.0.join("c.html")),
            markdown: None,
            section: Some(scratch.file("docs.md", &document)?),
        };
        assert!(run(&args).is_ok());
        let text = fs::read_to_string(scratch.0.join("docs.md"))?;
        let section = markdown::section(&made_up::small());
        assert_eq!(
            text,
            format!("# Figures\n\n{}\n\n{section}\n## old\n", markdown::MARKER)
        );
        assert_eq!(fs::read_dir(&scratch.0)?.count(), 3);

        args.section = Some(scratch.file("other.md", "# Figures\n")?);
        assert!(sentence(&args).contains("has no line \"<!-- newest comparison first -->\""));
        assert_eq!(
            fs::read_to_string(scratch.0.join("other.md"))?,
            "# Figures\n"
        );
        args.section = Some(scratch.0.join("missing.md"));
        assert!(sentence(&args).contains("cannot read the document"));
        args.section = None;
        args.html = Some(scratch.0.join("no/such/place.html"));
        assert!(sentence(&args).contains("cannot write"));
        args.comparison = scratch.file("bad.json", "{")?;
        assert!(sentence(&args).contains("holds no comparison"));
        Ok(())
    }
}
