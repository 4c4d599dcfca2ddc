namespace growmerge {}
