// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What an experiment found: named checks and named values, for people or as JSON.

use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Debug;

/// One thing that an experiment looked at and that could have been otherwise.
#[derive(Serialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The result of one experiment.
#[derive(Serialize)]
pub struct Report {
    pub experiment: &'static str,
    pub device: String,
    /// Why the experiment couldn't be carried to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub checks: Vec<Check>,
    pub values: Map<String, Value>,
    /// Rows of a table for people; its content is in `values` too.
    #[serde(skip)]
    pub table: Vec<Vec<String>>,
}

impl Report {
    pub fn new(experiment: &'static str, device: &str) -> Self {
        Self {
            experiment,
            device: device.to_string(),
            error: None,
            checks: Vec::new(),
            values: Map::new(),
            table: Vec::new(),
        }
    }

    /// Records a check; `detail` is shown only if it failed.
    pub fn check(&mut self, name: impl Into<String>, passed: bool, detail: impl Into<String>) {
        let detail = (!passed)
            .then(|| detail.into())
            .filter(|text| !text.is_empty());
        self.checks.push(Check {
            name: name.into(),
            passed,
            detail,
        });
    }

    /// Records the check that two values are the same.
    pub fn check_same<T: PartialEq + Debug>(
        &mut self,
        name: impl Into<String>,
        got: T,
        expected: T,
    ) {
        let passed = got == expected;
        self.check(name, passed, format!("expected {expected:?}, got {got:?}"));
    }

    pub fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_string(), value.into());
    }

    pub fn passed(&self) -> bool {
        self.error.is_none() && self.checks.iter().all(|check| check.passed)
    }

    /// 0: passed; 1: a check failed; 2: the experiment couldn't be carried to its end.
    pub fn exit_code(&self) -> u8 {
        match (&self.error, self.passed()) {
            (Some(_), _) => 2,
            (None, true) => 0,
            (None, false) => 1,
        }
    }

    pub fn print(&self, json: bool) {
        if json {
            let mut value = serde_json::to_value(self).expect("a report is plain data");
            value["passed"] = self.passed().into();
            println!("{value}");
        } else {
            self.print_for_people();
        }
    }

    fn print_for_people(&self) {
        println!("{} on {}", self.experiment, self.device);
        // Where a table tells the story, only what contradicts it is listed.
        let all = self.table.is_empty();
        for check in self.checks.iter().filter(|check| all || !check.passed) {
            println!(
                "  {}  {}",
                if check.passed { "ok  " } else { "FAIL" },
                check.name
            );
            if let Some(detail) = &check.detail {
                println!("        {detail}");
            }
        }
        if self.table.is_empty() {
            let width = self.values.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in &self.values {
                println!("  {name:width$}  {}", for_people(value));
            }
        }
        print_table(&self.table);
        match &self.error {
            Some(error) => println!("ERROR: {error}"),
            None if self.passed() => println!("PASSED ({} checks)", self.checks.len()),
            None => println!("FAILED"),
        }
    }
}

fn for_people(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(for_people).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Prints rows with their columns aligned; the first column holds the names of the rows.
fn print_table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("  {}", cells.join("  ").trim_end());
        if number == 0 {
            println!(
                "  {}",
                "-".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1))
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_tells_failure_from_error() {
        let mut report = Report::new("x", "d");
        report.check("good", true, "unused");
        assert_eq!(report.exit_code(), 0);
        assert!(report.checks[0].detail.is_none());
        report.check_same("numbers", 1, 2);
        assert_eq!(report.exit_code(), 1);
        assert_eq!(
            report.checks[1].detail.as_deref(),
            Some("expected 2, got 1")
        );
        report.error = Some("no device".into());
        assert_eq!(report.exit_code(), 2);
    }
}
