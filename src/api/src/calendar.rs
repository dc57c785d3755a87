//! Times as the contract writes them.

use culvert_model::Millis;

/// `YYYY-MM-DD HH:MM:SS`, UTC (H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
pub fn text(at: Millis) -> String {
    let seconds = at / 1000;
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(text(0), "1970-01-01 00:00:00");
        assert_eq!(text(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(text(1_700_000_000_999), "2023-11-14 22:13:20");
        assert_eq!(text(4_102_444_799_000), "2099-12-31 23:59:59");
    }
}
