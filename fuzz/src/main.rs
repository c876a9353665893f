//! Fills `corpus/` with the seeds. Running it again changes nothing.

use std::path::Path;
use targets::seeds::seeds;

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for seed in seeds(&here.join("../tests/corpus")) {
        let dir = here.join("corpus").join(seed.target);
        std::fs::create_dir_all(&dir).expect("a directory of seeds");
        std::fs::write(dir.join(format!("seed-{}", seed.name)), seed.input).expect("a seed");
    }
}
