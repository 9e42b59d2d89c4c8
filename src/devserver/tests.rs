//! Tests of the shell: doors, weather, counts.
