//! Queries that nobody wrote: the grammar, walked by dice.

const METRICS: &str =
    "hits_total took_seconds_bucket hits_again_total nothing traefik_service_requests_total";
const MATCHERS: &str =
    " , ,{code=\"200\"},{code!~\"5..\"},{service=~\".*-web-.*\"},{le=\"+Inf\"},{code!=\"\"}";
const OVER_RANGE: &str = "rate increase irate delta idelta changes resets deriv avg_over_time sum_over_time min_over_time max_over_time count_over_time last_over_time present_over_time stddev_over_time absent_over_time";
const OVER_VECTOR: &str = "abs ceil floor sgn - + absent round sqrt timestamp sort";
const AGGREGATIONS: &str = "sum avg min max count group stddev";
const WITH_SCALAR: &str = "+|-|*|/|>|==|!= bool|> bool|<=";
const WITH_VECTOR: &str = "+|/|-|>|and|or|unless|and on(code)|or on(service)|unless ignoring(code)|/ on(service)|* ignoring(code)|/ ignoring(code) group_left|* on(service) group_right|== on(code, service)";

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn of<'a>(&mut self, choices: &'a str, separator: char) -> &'a str {
        let choices: Vec<&str> = choices.split(separator).collect();
        choices[self.roll(choices.len())]
    }

    fn selector(&mut self) -> String {
        format!("{}{}", self.of(METRICS, ' '), self.of(MATCHERS, ','))
    }

    fn range(&mut self, depth: usize) -> String {
        let offset = self.of(" | | | offset 2s| offset -1s| @ end()", '|');
        if depth > 0 && self.roll(4) == 0 {
            let (range, step) = (self.of("4s 5s 7s500ms", ' '), self.of("1s 2s 1500ms", ' '));
            return format!("({})[{range}:{step}]{offset}", self.vector(depth - 1));
        }
        format!("{}[{}]{offset}", self.selector(), self.of("2s 3s 5s 8s 1m 2500ms", ' '))
    }

    fn scalar(&mut self, depth: usize) -> String {
        match self.roll(if depth == 0 { 3 } else { 5 }) {
            0 => self.of("time() pi() Inf NaN", ' ').to_owned(),
            1 | 2 => self.of("0 1 2 0.5 10 100 -3 1e3 3 7 20", ' ').to_owned(),
            3 => format!("scalar({})", self.vector(depth - 1)),
            _ => {
                let op = self.of("+|-|*|/|%|^|> bool|== bool", '|');
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
        }
    }

    /// An instant vector; also ones that cannot be computed.
    pub(crate) fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            let offset = self.of(" | | | offset 3s", '|');
            return format!("{}{offset}", self.selector());
        }
        let below = depth - 1;
        match self.roll(10) {
            0 | 1 => format!("{}({})", self.of(OVER_RANGE, ' '), self.range(below)),
            2 => format!("{}({})", self.of(AGGREGATIONS, ' '), self.vector(below)),
            3 => {
                let (op, how) = (self.of(AGGREGATIONS, ' '), self.of("by without", ' '));
                let labels = self.of("code|service|le|code, service|", '|');
                format!("{op} {how} ({labels}) ({})", self.vector(below))
            }
            4 => {
                let op = self.of(WITH_SCALAR, '|');
                format!("{} {op} {}", self.vector(below), self.scalar(below))
            }
            5 | 6 => {
                let op = self.of(WITH_VECTOR, '|');
                format!("({} {op} {})", self.vector(below), self.vector(below))
            }
            7 => format!("{}({})", self.of(OVER_VECTOR, ' '), self.vector(below)),
            8 => {
                let q = self.of("0.5 0.99 1 0.1", ' ');
                format!("histogram_quantile({q}, {})", self.vector(below))
            }
            _ => {
                let bound = self.of("min max", ' ');
                format!("clamp_{bound}({}, {})", self.vector(below), self.scalar(below))
            }
        }
    }
}
