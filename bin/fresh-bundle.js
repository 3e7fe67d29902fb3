'use strict';
// Plain old JavaScript, like launch.js, which loads it in a clone.

var fs = require('fs');
var path = require('path');

/**
 * Returns the program that scripts/clone-bundle.ts made in this clone, or undefined when there is none or any of the
 * files it was made of is not as it was then. The time of the last change of a file's metadata is compared too, because
 * no program can set it: copies and checkouts may have older contents and older times.
 */
exports.freshBundle = function freshBundle(root) {
  try {
    var manifest = JSON.parse(fs.readFileSync(path.join(root, '.build', 'current.json'), 'utf8'));
    var main = path.join(root, manifest.main);
    return fs.existsSync(main) && manifest.files.every(isUnchanged) ? main : undefined;
  } catch (error) {
    return undefined;
  }

  function isUnchanged(file) {
    var stats = fs.statSync(root + '/' + file[0]);
    return stats.size === file[1] && stats.mtimeMs === file[2] && stats.ctimeMs === file[3];
  }
};
