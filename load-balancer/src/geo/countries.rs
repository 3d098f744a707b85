//! Which country belongs to which region unless the configuration says otherwise: the three regions of the original.
//!
//! By the rule Americas → US; Europe, Africa and the Middle East (with the Caucasus) → EU; the rest of Asia, and Oceania →
//! APAC. Where a territory's continent and its cables disagree, the cables win: a region is about distance. A test holds the
//! table against the whole of ISO 3166-1.

/// Region and its countries, ISO 3166-1 alpha-2. Beside ISO's 249: XK (Kosovo), AN (dissolved in 2010, still in databases),
/// and what address registries write where they know no more than a continent: EU, AP.
pub const DEFAULT: [(&str, &str); 9] = [
    // Asia without its west, and what databases call Asia/Pacific.
    (
        "APAC",
        "AF BD BN BT CN HK ID IN IO JP KG KH KP KR KZ LA LK MM MN MO MV MY NP PH PK SG TH TJ TL TM TW UZ VN AP",
    ),
    // Oceania.
    ("APAC", "AS AU CC CK CX FJ FM GU HM KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS"),
    // Europe, and what databases call Europe.
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT \
         NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK EU",
    ),
    // The Middle East and the Caucasus.
    ("EU", "AE AM AZ BH CY GE IL IQ IR JO KW LB OM PS QA SA SY TR YE"),
    // Africa.
    (
        "EU",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG \
         RE RW SC SD SH SL SN SO SS ST SZ TD TF TG TN TZ UG YT ZA ZM ZW",
    ),
    // North America.
    ("US", "BM CA GL MX PM US"),
    // Central America and the Caribbean.
    (
        "US",
        "AG AI AN AW BB BL BQ BS BZ CR CU CW DM DO GD GP GT HN HT JM KN KY LC MF MQ MS NI PA PR SV SX TC TT VC VG VI",
    ),
    // South America.
    ("US", "AR BO BR CL CO EC FK GF GS GY PE PY SR UY VE"),
    // The far south: nobody lives there, and its stations are reached through the Americas.
    ("US", "AQ BV"),
];

/// Every country with its default region.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    DEFAULT.iter().flat_map(|(region, codes)| codes.split_whitespace().map(move |code| (code, *region)))
}

/// Whether `code` is one of them.
#[must_use]
pub fn is_known(code: &str) -> bool {
    all().any(|(known, _)| known == code)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// ISO 3166-1, from the time zone database's list.
    const ISO: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW \
        BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI \
        FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN \
        IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME \
        MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF \
        PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV \
        SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE \
        YT ZA ZM ZW";

    #[test]
    fn the_table_is_all_of_iso_once_and_the_four_others() {
        let mut table: BTreeMap<&str, &str> = BTreeMap::new();
        for (code, region) in all() {
            assert_eq!(table.insert(code, region), None, "{code} twice");
        }
        let iso: Vec<&str> = ISO.split_whitespace().collect();
        assert_eq!(iso.len(), 249);
        let missing: Vec<_> = iso.iter().filter(|code| !table.contains_key(**code)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let more: Vec<_> = table.keys().filter(|code| !iso.contains(code)).collect();
        assert_eq!(more, [&"AN", &"AP", &"EU", &"XK"]);
        for (code, region) in
            [("BR", "US"), ("DE", "EU"), ("ZA", "EU"), ("AE", "EU"), ("IN", "APAC"), ("NZ", "APAC")]
        {
            assert_eq!(table[code], region, "{code}");
        }
    }
}
