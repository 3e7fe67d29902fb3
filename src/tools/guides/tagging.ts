import type { Guide } from './guide.ts';

export const taggingGuide: Guide = {
  title: 'Tagging: names that others find',
  text: `# Tagging: names that others find

A tag is a movable name of an image. Wherever a tool takes an image it takes a UUID or \`tag:NAME\`.

## How to name

\`\`\`
set_tag(image_uuid="$image_uuid", tag="common/python-ml/python:3.11-slim")
set_tag(image_uuid="$image_uuid", tag="myproject/tested/python:3.11-slim")
\`\`\`

\`{scope}/{purpose}/{base}\`:

- scope: \`common\` for what any project could use, otherwise the project's name
- purpose: what was added, such as \`python-ml\`, \`node-build\`, \`with-deps\`
- base: the image it came from, such as \`python:3.11-slim\`

Allowed are \`a-z 0-9 _ -\` in words separated by single \`: / .\`, 256 characters at most. No capitals, no spaces.

## How to find

\`\`\`
list_images(tag_prefix="common/")
list_images(tag_prefix="common/python-ml/")
get_image(image="tag:common/python-ml/python:3.11-slim")
\`\`\`

## Moving and removing

Setting a tag that exists moves it: the answer names \`previous_uuid\`, and the old image stays reachable by that UUID. An image can have several tags.

\`\`\`
set_tag(image_uuid="$image_uuid", tag="myproject/current")
set_tag(image_uuid="$image_uuid")
\`\`\`

Without \`tag\` the name that get_image shows is removed; the image itself stays.

## UUID or tag?

Use a tag to start from, because it says what it is and lives on. Use UUIDs within a chain of runs, because a tag may be moved by
somebody else between two of your calls; a UUID means the same bytes forever.
`,
};
