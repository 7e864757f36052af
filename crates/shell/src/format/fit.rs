//! Fitting columns into the width of a terminal.
//!
//! The widest columns give way first, all to the same width, so that short columns (ids, codes, flags) stay whole. Below
//! [`WIDTH_MIN`] a cut value says nothing any more; then there is no fit, and the caller shows rows as blocks.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The narrowest that a cut column may be.
pub const WIDTH_MIN: usize = 6;

/// Widths that sum up to at most `available`, or `None` when that would cut columns below [`WIDTH_MIN`].
pub fn fit(natural: &[usize], available: usize) -> Option<Vec<usize>> {
    let total = |cap: usize| natural.iter().map(|width| (*width).min(cap)).sum::<usize>();
    let widest = natural.iter().copied().max().unwrap_or(0);
    if total(widest) <= available {
        return Some(natural.to_vec());
    }
    let cap = (WIDTH_MIN..widest).rev().find(|cap| total(*cap) <= available)?;
    let mut spare = available - total(cap);
    let widths = natural.iter().map(|width| {
        let extra = usize::from(*width > cap && spare > 0);
        spare -= extra;
        (*width).min(cap) + extra
    });
    Some(widths.collect())
}

/// The text cut to `width` columns, the last of them `…` where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut out = String::new();
    let mut used = 0;
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used >= width {
            break;
        }
        out.push(letter);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_columns_give_way_first() {
        assert_eq!(fit(&[3, 5], 20), Some(vec![3, 5]));
        assert_eq!(fit(&[3, 50], 20), Some(vec![3, 17]));
        assert_eq!(fit(&[3, 50, 40], 30), Some(vec![3, 14, 13]));
        assert_eq!(fit(&[50, 50, 50], 17), None);
        assert_eq!(fit(&[], 10), Some(vec![]));
    }

    #[test]
    fn a_fit_never_exceeds_what_is_available_nor_what_is_needed() {
        for available in 0..60 {
            for natural in [[1, 2, 3], [30, 1, 30], [9, 9, 9], [100, 20, 5]] {
                if let Some(widths) = fit(&natural, available) {
                    assert!(widths.iter().sum::<usize>() <= available);
                    assert!(widths.iter().zip(natural).all(|(width, need)| *width <= need));
                    assert!(widths.iter().zip(natural).all(|(width, need)| *width >= need.min(WIDTH_MIN)));
                }
            }
        }
    }

    #[test]
    fn cutting_counts_columns_and_not_letters() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
    }
}
