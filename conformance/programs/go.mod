module serin.rs/conformance/programs

go 1.22
