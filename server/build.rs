//! The migrations are embedded: a changed or added one rebuilds the crate.
fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
