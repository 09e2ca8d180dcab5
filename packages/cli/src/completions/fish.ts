import { programs } from "../spec/words.js"
import { type Command, heading, type Known, type Model } from "./model.js"

const quoted = (text: string): string =>
  /^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`

const words = (texts: ReadonlyArray<string>): string => texts.map((text) => ` ${quoted(text)}`).join("")

const commandOf = ({ below, isEndless, known, path, slots }: Command): string => {
  const sets = [
    ...below.map(({ description, name }) => `set -a below ${name}\\t${quoted(description)}`),
    ...(slots.length > 0 ? [`set slots${words(slots.map(({ takes }) => takes))}`] : []),
    ...(isEndless ? ["set endless 1"] : []),
    `set known${words(known)}`
  ]
  return `        case ${quoted(path)}\n${sets.map((set) => `            ${set}\n`).join("")}`
}

const optionOf = ({ description, id, isRepeated, names, takes }: Known): string => `        case ${id}
            set names${words(names)}
            set about ${quoted(description)}
            set takes ${quoted(takes)}
            set repeats ${isRepeated ? "1" : "''"}
`

/** The completions for fish. */
export const fish = ({ commands, options }: Model): string => `${heading("fish")}

# Sets below to the commands of the group $argv[1], slots to what the arguments of the command $argv[1] take, endless if the last may be
# repeated, and known to its options.
function _effect_runpod_command --no-scope-shadowing
    set below
    set slots
    set endless ''
    switch $argv[1]
${commands.map(commandOf).join("")}    end
end

# Sets names and about to those of the option $argv[1], takes to what it takes, and repeats if it may be given again.
function _effect_runpod_option --no-scope-shadowing
    switch $argv[1]
${options.map(optionOf).join("")}    end
end

# Whether the command has an option that is called $argv[1]: sets names, about, takes and repeats to those of it.
function _effect_runpod_find --no-scope-shadowing
    for id in $known
        _effect_runpod_option $id
        contains -- $argv[1] $names; and return 0
    end
    return 1
end

# Prints the options that may still be given.
function _effect_runpod_options --no-scope-shadowing
    for id in $known
        _effect_runpod_option $id
        for name in $names
            test -z "$repeats"; and contains -- $name $given; and set names
        end
        for name in $names
            printf '%s\\t%s\\n' $name $about
        end
    end
end

# Prints the files that begin with $argv[2], each behind $argv[1].
function _effect_runpod_files
    for file in $argv[2]*
        test -d $file; and set file $file/
        printf '%s\\n' $argv[1]$file
    end
end

# Prints values of what takes $argv[1], each behind $argv[2], for a word of which $argv[3] follows that. Fish completes the paths of
# files by itself, but for those in quotes behind an option.
function _effect_runpod_values
    set -l choices (string split ' ' -- $argv[1])
    if test "$choices[1]" = json; and string match -qr '^(@|$)' -- $argv[3]
        _effect_runpod_files $argv[2]@ (string sub --start 2 -- $argv[3])
    else if test "$choices[1]" = file; and test -n "$argv[2]"
        _effect_runpod_files $argv[2] $argv[3]
    end
    for choice in $choices[2..]
        printf '%s\\n' $argv[2]$choice
    end
end

# Prints what the current word may be, or with --is-file only says whether it is the path of a file.
function _effect_runpod
    set -l command ''
    set -l place 1
    set -l given
    set -l pending ''
    set -l lost ''
    set -l ended ''
    set -l below
    set -l known
    set -l slots
    set -l endless ''
    set -l names
    set -l about ''
    set -l takes ''
    set -l repeats ''
    set -l before (commandline -opc)
    set -l all (commandline -op)
    set -l current (string unescape -- (commandline -ct | string collect))
    test -n "$current"; or set current ''
    _effect_runpod_command ''
    for word in $before[2..]
        if test -n "$pending"
            set pending ''
        else if test -z "$ended"; and test "$word" = --
            set ended 1
        else if test -z "$ended"; and string match -qr '^--?[A-Za-z]' -- $word
            set -l name (string replace -r '=.*' '' -- $word)
            set -a given $name
            if _effect_runpod_find $name; and test "$name" = "$word"
                set pending $takes
            end
        else if set -q below[1]
            if test -z "$ended"; and contains -- $word (string replace -r '\\t.*' '' -- $below)
                set command (string trim -- "$command $word")
                _effect_runpod_command $command
            else
                set lost 1
            end
        else
            set place (math $place + 1)
        end
    end
    # Behind the cursor, and behind the rest of the current word, there may be options, too.
    set -l next (math (count $before) + 1)
    commandline -t | string length -q; and set next (math $next + 1)
    set -a given (string replace -r '=.*' '' -- $all[$next..])
    test -n "$endless"; and test $place -gt (count $slots); and set place (count $slots)

    set -l prefix ''
    if test -n "$pending"
        set takes $pending
    else if test -z "$ended"; and string match -qr '^-.*=' -- $current
        set prefix (string replace -r '=.*' '=' -- $current)
        _effect_runpod_find (string replace -r '=.*' '' -- $current); or set takes ''
    else if test -z "$ended"; and string match -q -- '-*' $current
        test "$argv" = --is-file; or _effect_runpod_options
        return 1
    else if test -n "$lost"
        return 1
    else if set -q below[1]
        test "$argv" = --is-file; or test -n "$ended"; or printf '%s\\n' $below
        return 1
    else
        set takes "$slots[$place]"
    end
    if test "$argv" = --is-file
        test "$takes" = file
    else
        _effect_runpod_values "$takes" $prefix (string sub --start (math (string length -- $prefix) + 1) -- $current)
    end
end

${programs
  .flatMap((program) => [
    `complete -c ${program} -f -a '(_effect_runpod)'`,
    `complete -c ${program} -n '_effect_runpod --is-file' -F`
  ])
  .join("\n")}
`
