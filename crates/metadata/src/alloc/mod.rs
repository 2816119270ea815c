//! Choice of physical extents: free-area maps and allocation policies.
