# A fish whose programs answer with their arguments. Ctrl-G answers with what is offered for the word at the cursor.
function answer
    printf '\001'
    for word in $argv
        printf '%s\037' $word
    end
    printf '\002'
end
function erp
    answer $argv
end
function effect-runpod
    answer $argv
end
function fish_prompt
    printf '> '
end
function fish_greeting
end
set -g fish_autosuggestion_enabled 0

eval $SETTINGS
printf '%s\n' $COMPLETIONS | source
function offers
    answer (complete -C (commandline -c) | string replace -r '\t.*' '')
    commandline ''
end
bind \cg offers

answer ready
