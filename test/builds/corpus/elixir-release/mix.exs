mix
