//! Whole files: those of other programs, those that are built here, and those that are broken on purpose.

mod build;
mod built;
mod files;
mod mutations;
mod ordinals;
mod pipelines;
mod refused;
mod resnet;
