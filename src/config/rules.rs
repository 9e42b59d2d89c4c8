//! Include and exclude rules in the order in which they were given, which decides what they mean.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::{Error, Result};
use crate::transfer::Filter;

use super::section::Section;

/// Filter rules, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Include(String),
    Exclude(String),
    IncludeFrom(PathBuf),
    ExcludeFrom(PathBuf),
}

/// One kind of rule: its flag, its key in dragon.toml, its help.
struct Form {
    flag: &'static str,
    key: &'static str,
    value: &'static str,
    help: &'static str,
    rule: fn(String) -> Rule,
}

const FORMS: [Form; 4] = [
    Form {
        flag: "include",
        key: "include",
        value: "GLOB",
        help: "Take what matches, relative to SRC; `*` crosses `/`. If the first rule is an include the rest is left out; later rules win",
        rule: Rule::Include,
    },
    Form {
        flag: "exclude",
        key: "exclude",
        value: "GLOB",
        help: "Leave out what matches, relative to SRC. What is left out is not deleted either",
        rule: Rule::Exclude,
    },
    Form {
        flag: "include-from",
        key: "include_from",
        value: "FILE",
        help: "Read includes from a file: one glob a line, # begins a comment",
        rule: |file| Rule::IncludeFrom(file.into()),
    },
    Form {
        flag: "exclude-from",
        key: "exclude_from",
        value: "FILE",
        help: "Read excludes from a file: one glob a line, # begins a comment",
        rule: |file| Rule::ExcludeFrom(file.into()),
    },
];

impl Rules {
    /// Adds the rules to a filter, reading the files among them.
    pub fn fill(&self, filter: &mut Filter) -> Result<()> {
        for rule in &self.0 {
            match rule {
                Rule::Include(glob) => filter.include(glob)?,
                Rule::Exclude(glob) => filter.exclude(glob)?,
                Rule::IncludeFrom(file) => read_globs(file)?.iter().try_for_each(|glob| filter.include(glob))?,
                Rule::ExcludeFrom(file) => read_globs(file)?.iter().try_for_each(|glob| filter.exclude(glob))?,
            }
        }
        Ok(())
    }

    /// Reads the keys of dragon.toml; their order in the file is the rules' order.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mut found = Vec::new();
        for form in &FORMS {
            let position = section.position(form.key);
            let texts = if form.value == "FILE" { section.paths(form.key) } else { section.texts(form.key) };
            found.extend(texts.into_iter().map(|text| (position, (form.rule)(text))));
        }
        found.sort_by_key(|(position, _)| *position);
        Self(found.into_iter().map(|(_, rule)| rule).collect())
    }
}

/// The largest file of rules that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

fn read_globs(file: &Path) -> Result<Vec<String>> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|f| f.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(e) => return Err(Error::invalid(format!("the filter file {} cannot be read: {e}", file.display()))),
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => return Err(Error::invalid(format!("the filter file {} is larger than 16 MiB", file.display()))),
        Ok(_) => {}
    }
    Ok(text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

// clap's derive keeps each flag's values apart; the order between flags is what matters here.
impl clap::Args for Rules {
    fn augment_args(command: Command) -> Command {
        command.args(FORMS.iter().map(|form| {
            let hint = if form.value == "FILE" { clap::ValueHint::FilePath } else { clap::ValueHint::Other };
            Arg::new(form.flag)
                .long(form.flag)
                .value_name(form.value)
                .help(form.help)
                .action(ArgAction::Append)
                .value_hint(hint)
                .help_heading("What takes part")
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Rules {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut found = Vec::new();
        for form in &FORMS {
            let values = matches.get_many::<String>(form.flag).unwrap_or_default();
            let indices = matches.indices_of(form.flag).unwrap_or_default();
            found.extend(indices.zip(values).map(|(index, value)| (index, (form.rule)(value.clone()))));
        }
        found.sort_by_key(|(index, _)| *index);
        Ok(Self(found.into_iter().map(|(_, rule)| rule).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn parse(args: &[&str]) -> Rules {
        let matches = Rules::augment_args(Command::new("test").no_binary_name(true)).get_matches_from(args);
        Rules::from_arg_matches(&matches).expect("rules")
    }

    #[test]
    fn rules_keep_the_order_of_the_flags() {
        let rules = parse(&["--exclude", "*", "--include", "*.jpg", "--exclude=a/*"]);
        assert_eq!(rules.0, [Rule::Exclude("*".into()), Rule::Include("*.jpg".into()), Rule::Exclude("a/*".into())]);
        let mut filter = Filter::default();
        rules.fill(&mut filter).expect("globs");
        assert!(!filter.hides_key(b"x.jpg") && filter.hides_key(b"a/x.jpg") && filter.hides_key(b"x.txt"));
    }

    #[test]
    fn files_hold_one_glob_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("globs");
        std::fs::write(&file, "# pictures\n*.jpg\n\n*.png\n").expect("written");
        let mut filter = Filter::default();
        parse(&["--include-from", file.to_str().expect("utf-8")]).fill(&mut filter).expect("globs");
        assert!(!filter.hides_key(b"a.png") && filter.hides_key(b"# pictures"));
        assert!(parse(&["--exclude-from", "/nowhere"]).fill(&mut filter).expect_err("no file").to_string().contains("/nowhere cannot be read"));
    }
}
