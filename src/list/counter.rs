//! Counts any number of values in bounded memory: values that do not fit are sorted on disk.

use crate::list::error::Stop;
use crate::list::hold::{Records, Sorter};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The bytes of values that are counted in memory before they go to the sorter.
const ROOM: usize = 1024 * 1024;

/// The memory in bytes that a value needs besides its own bytes, about.
const SLOT: usize = 64;

/// The bytes of records that are sorted in memory.
const ARENA: usize = 4 * 1024 * 1024;

/// Counts values. The first byte of a value is its category, so that categories sort together.
pub struct Tally {
    counts: HashMap<Vec<u8>, u64>,
    used: usize,
    sorter: Sorter,
    record: Vec<u8>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { counts: HashMap::new(), used: 0, sorter: Sorter::with_memory(ARENA), record: Vec::new() }
    }
}

impl Tally {
    /// Adds one to the count of a value. A NUL in it sorts before all other bytes.
    pub fn add(&mut self, value: &[u8]) -> Result<(), Stop> {
        if let Some(count) = self.counts.get_mut(value) {
            *count += 1;
            return Ok(());
        }
        if self.used > ROOM {
            self.spill()?;
        }
        self.used += value.len() + SLOT;
        self.counts.insert(value.to_vec(), 1);
        Ok(())
    }

    /// Adds one to the count of a value that rarely occurs twice: it goes to the sorter at once.
    pub fn add_rare(&mut self, value: &[u8]) -> Result<(), Stop> {
        push(&mut self.sorter, &mut self.record, value, 1)
    }

    fn spill(&mut self) -> Result<(), Stop> {
        for (value, count) in self.counts.drain() {
            push(&mut self.sorter, &mut self.record, &value, count)?;
        }
        self.used = 0;
        Ok(())
    }

    /// Calls `each` for every value with its count, in the order of the values' bytes.
    pub fn read(mut self, mut each: impl FnMut(&[u8], u64)) -> Result<(), Stop> {
        self.spill()?;
        self.counts = HashMap::new();
        let sorted = self.sorter.sorted()?;
        let mut records = sorted.read()?;
        let mut value = Vec::new();
        while let Some(count) = next(&mut records, &mut value)? {
            each(&value, count);
        }
        Ok(())
    }
}

fn push(sorter: &mut Sorter, record: &mut Vec<u8>, value: &[u8], count: u64) -> Result<(), Stop> {
    record.clear();
    record.extend_from_slice(value);
    // NUL is the smallest byte, so a value sorts before the values that begin with it.
    record.push(0);
    record.extend_from_slice(&count.to_be_bytes());
    sorter.push(record)
}

/// Puts the next value into `value` and returns its total count.
fn next(records: &mut Records<'_>, value: &mut Vec<u8>) -> Result<Option<u64>, Stop> {
    let parts = |record: &[u8]| {
        let (value, count) = record.split_at(record.len().saturating_sub(9));
        (value.len(), count.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    };
    let Some(record) = records.advance()? else { return Ok(None) };
    let (len, mut sum) = parts(record);
    value.clear();
    value.extend_from_slice(&record[..len]);
    while let Some(record) = records.peek() {
        let (len, count) = parts(record);
        if record[..len] != *value {
            break;
        }
        sum += count;
        records.advance()?;
    }
    Ok(Some(sum))
}

/// The most frequent of many values.
#[derive(Default)]
pub struct Top {
    most: BinaryHeap<Reverse<(u64, Reverse<Vec<u8>>)>>,
    /// The number of different values.
    pub values: u64,
    /// The sum of their counts.
    pub sum: u64,
}

impl Top {
    /// Adds a value with its count. Keeps the `most` frequent values.
    pub fn add(&mut self, value: &[u8], count: u64, most: usize) {
        self.values += 1;
        self.sum += count;
        if self.most.len() == most {
            match self.most.peek() {
                Some(Reverse((least, _))) if *least < count => drop(self.most.pop()),
                _ => return,
            }
        }
        self.most.push(Reverse((count, Reverse(value.to_vec()))));
    }

    /// Returns the values that were kept, the most frequent first.
    pub fn in_order(self) -> Vec<(u64, Vec<u8>)> {
        self.most.into_sorted_vec().into_iter().map(|Reverse((count, Reverse(value)))| (count, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_in_memory_and_on_disk() -> Result<(), Stop> {
        let mut tally = Tally::default();
        // More values than fit in ROOM, each twice and far apart, and one value that is frequent.
        for round in 0..2 {
            for i in 0..40_000 {
                tally.add(format!("a{:06}", i * 7919 % 40_000).as_bytes())?;
                if i % 4 == round {
                    tally.add(b"a")?;
                }
            }
            tally.add_rare(b"b")?;
        }
        let (mut top, mut seen, mut last) = (Top::default(), 0, Vec::new());
        tally.read(|value, count| {
            assert!(last.as_slice() < value);
            last = value.to_vec();
            seen += 1;
            top.add(value, count, 3);
        })?;
        assert_eq!((seen, top.values, top.sum), (40_002, 40_002, 100_002));
        assert_eq!(top.in_order(), [(20_000, b"a".to_vec()), (2, b"a000000".to_vec()), (2, b"a000001".to_vec())]);
        Ok(())
    }
}
